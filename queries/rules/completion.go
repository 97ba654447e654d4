package rules

import "time"

// IsComplete tells whether a journey with these stages is complete: there is a stage, and every stage that is not
// optional is completed or skipped. Source: is_complete of the contract's JourneyProgress, which is silent on a
// journey without stages.
func IsComplete(stages []Stage) bool {
	for i := range stages {
		if s := &stages[i]; !s.IsOptional && !isFinal(s.Status) {
			return false
		}
	}
	return len(stages) > 0
}

// CompletedAt is when the journey with these stages was completed: the greatest time of a completed stage, which need
// not be that of the stage completed last, since events may come late. It is not ok while the journey is not complete,
// and where no stage was completed, because all are skipped or optional: then nothing happened that could complete the
// journey. Source: is_optional and completed_at of the contract's StageInstance and JourneyInstance; that a journey
// needs one completed stage was chosen here.
func CompletedAt(stages []Stage) (at time.Time, ok bool) {
	if !IsComplete(stages) {
		return time.Time{}, false
	}
	for i := range stages {
		if s := &stages[i]; s.Status == StageCompleted && s.CompletedAt != nil && (!ok || s.CompletedAt.After(at)) {
			at, ok = *s.CompletedAt, true
		}
	}
	return at, ok
}

// CompletionPercentage is how many of 100 stages that are not skipped are completed, rounded down; 0 if there are
// none. Source: completion_percentage of the contract's JourneyProgress.
func CompletionPercentage(stages []Stage) int {
	completed, counted := 0, 0
	for i := range stages {
		switch stages[i].Status {
		case StageSkipped:
			continue
		case StageCompleted:
			completed++
		}
		counted++
	}
	if counted == 0 {
		return 0
	}
	return 100 * completed / counted
}

// MayBecome tells whether a stage may change its status so: forward only, from pending to in progress to completed or
// skipped, which are final; steps may be left out. The same status again is no change, and false, and so is an unknown
// one. Source: status of the contract's StageInstance.
func MayBecome(from, to string) bool {
	switch from {
	case StagePending:
		return to == StageInProgress || isFinal(to)
	case StageInProgress:
		return isFinal(to)
	}
	return false
}

// isFinal tells whether a stage of that status is done with.
func isFinal(status string) bool { return status == StageCompleted || status == StageSkipped }
