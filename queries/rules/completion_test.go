package rules

import (
	"testing"
	"time"
)

// stageAt is a stage completed at that time.
func stageAt(at time.Time) Stage { return Stage{Status: StageCompleted, CompletedAt: &at} }

func TestCompletion(t *testing.T) {
	t.Parallel()
	later, early := noon.Add(time.Hour), time.Time{}.Add(-time.Hour)
	for name, c := range map[string]struct {
		stages      []Stage
		isComplete  bool
		completedAt *time.Time // nil: not ok
		percentage  int
	}{
		"no stages":                       {nil, false, nil, 0},
		"pending":                         {[]Stage{stageOf(StagePending)}, false, nil, 0},
		"in progress":                     {[]Stage{stageOf(StageInProgress)}, false, nil, 0},
		"completed":                       {[]Stage{stageAt(noon)}, true, &noon, 100},
		"skipped":                         {[]Stage{stageOf(StageSkipped)}, true, nil, 0},
		"optional and pending":            {[]Stage{stageOf(StagePending, optional)}, true, nil, 0},
		"optional, pending and skipped":   {[]Stage{stageOf(StageSkipped), stageOf(StagePending, optional)}, true, nil, 0},
		"optional and in progress":        {[]Stage{stageAt(noon), stageOf(StageInProgress, optional)}, true, &noon, 50},
		"completed and skipped":           {[]Stage{stageOf(StageSkipped), stageAt(noon), stageOf(StageSkipped)}, true, &noon, 100},
		"the greatest time comes last":    {[]Stage{stageAt(noon), stageAt(later)}, true, &later, 100},
		"the greatest time comes first":   {[]Stage{stageAt(later), stageAt(noon)}, true, &later, 100},
		"one of three":                    {[]Stage{stageAt(noon), stageOf(StagePending), stageOf(StageInProgress)}, false, nil, 33},
		"two of three":                    {[]Stage{stageAt(noon), stageAt(later), stageOf(StagePending)}, false, nil, 66},
		"one of three, two more skipped":  {[]Stage{stageAt(noon), stageOf(StageSkipped), stageOf(StagePending), stageOf(StageSkipped), stageOf(StagePending)}, false, nil, 33},
		"only the optional one is done":   {[]Stage{{Status: StageCompleted, CompletedAt: &noon, IsOptional: true}, stageOf(StagePending)}, false, nil, 50},
		"all but the required is pending": {[]Stage{stageAt(noon), stageOf(StagePending, optional), stageOf(StagePending, optional)}, true, &noon, 33},
		"at the zero time":                {[]Stage{stageAt(time.Time{})}, true, &time.Time{}, 100},
		"before the year 1":               {[]Stage{stageAt(early)}, true, &early, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := IsComplete(c.stages); got != c.isComplete {
				t.Errorf("IsComplete is %v, want %v", got, c.isComplete)
			}
			if at, ok := CompletedAt(c.stages); ok != (c.completedAt != nil) || ok && !at.Equal(*c.completedAt) {
				t.Errorf("CompletedAt is %v, %v, want %v", at, ok, c.completedAt)
			}
			if got := CompletionPercentage(c.stages); got != c.percentage {
				t.Errorf("CompletionPercentage is %d, want %d", got, c.percentage)
			}
		})
	}
}

func TestMayBecome(t *testing.T) {
	t.Parallel()
	allowed := map[[2]string]bool{
		{StagePending, StageInProgress}:   true,
		{StagePending, StageCompleted}:    true,
		{StagePending, StageSkipped}:      true,
		{StageInProgress, StageCompleted}: true,
		{StageInProgress, StageSkipped}:   true,
	}
	statuses := []string{StagePending, StageInProgress, StageCompleted, StageSkipped, "unknown", ""}
	for _, from := range statuses {
		for _, to := range statuses {
			if got := MayBecome(from, to); got != allowed[[2]string{from, to}] {
				t.Errorf("from %q to %q: %v", from, to, got)
			}
		}
	}
}
