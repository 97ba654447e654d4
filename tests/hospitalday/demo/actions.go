package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/px360/px360/gen/client"
)

// workedOn is how many of the actions that low scores opened are worked on.
const workedOn = 4

// act has a few actions solved and one breached, and counts what became of all of them.
func (p *player) act(ctx context.Context) error {
	if p.outbox == "" {
		return nil
	}
	if err := p.workOnActions(ctx); err != nil {
		return fmt.Errorf("work on actions: %w", err)
	}
	if err := p.breach(ctx); err != nil {
		return fmt.Errorf("let an action be breached: %w", err)
	}
	return p.countActions(ctx)
}

// workOnActions takes some open actions through all that it takes to solve them, each a step further than the one before.
func (p *player) workOnActions(ctx context.Context) error {
	open := &client.ListActionsParams{
		Hospital: &p.hospital, Status: client.Ptr(client.ActionStatusOpen), SourceType: client.Ptr(client.ActionSourceSurvey), PageSize: client.Ptr(client.PageSize(workedOn)),
	}
	list, err := p.api.ListActions(ctx, open)
	if err != nil {
		return err
	}
	for i, action := range list.Results {
		if _, err := p.api.AddActionNote(ctx, action.ID, client.ActionNoteCreate{Note: "I am calling the patient."}); err != nil {
			return err
		}
		steps := []client.ActionStatusChange{
			{Status: client.ActionStatusInProgress},
			{Status: client.ActionStatusPendingApproval, Resolution: client.Ptr("The patient was called, and thanked us.")},
			{Status: client.ActionStatusApproved},
			{Status: client.ActionStatusClosed},
		}
		for _, step := range steps[:i+1] {
			if _, err := p.api.ChangeActionStatus(ctx, action.ID, step); err != nil {
				return err
			}
		}
	}
	return nil
}

// breach opens an action whose deadline comes within seconds, and waits until that is noticed.
func (p *player) breach(ctx context.Context) error {
	before, err := p.api.RetrieveHospitalSettings(ctx, p.hospital)
	if err != nil {
		return err
	}
	promised := before.ActionSLA
	restore := client.HospitalSettingsUpdate{ActionSLA: &promised}
	short := promised
	short.Low = client.SLATarget{Seconds: client.Ptr(int32(2)), Clock: client.SLAClockCalendar}
	if _, err := p.api.UpdateHospitalSettings(ctx, p.hospital, client.HospitalSettingsUpdate{ActionSLA: &short}); err != nil {
		return err
	}
	action, err := p.api.CreateAction(ctx, client.ActionCreate{
		Hospital: p.hospital, Title: "Demo: nobody will do this in time", Priority: client.Ptr(client.ActionPriorityLow),
	})
	if _, restored := p.api.UpdateHospitalSettings(ctx, p.hospital, restore); err == nil {
		err = restored
	}
	if err != nil {
		return err
	}
	p.progress.start("actions being breached", 1)
	defer p.progress.close()
	return p.await(ctx, func() (bool, error) {
		now, err := p.api.RetrieveAction(ctx, action.ID)
		return err == nil && now.EscalationLevel > 0, err
	})
}

// await asks again and again until it is done, or for so long that it never will be.
func (p *player) await(ctx context.Context, done func() (bool, error)) error {
	for began := time.Now(); ; {
		over, err := done()
		if err != nil || over || time.Since(began) > stall { // the summary tells what is missing
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// countActions counts the hospital's actions by where they stand.
func (p *player) countActions(ctx context.Context) error {
	p.summary.Actions = map[string]int{}
	for action, err := range p.api.AllActions(ctx, &client.ListActionsParams{Hospital: &p.hospital, PageSize: client.Ptr(client.PageSize(100))}) {
		if err != nil {
			return err
		}
		p.summary.Actions[string(action.Status)]++
		if action.EscalationLevel > 0 {
			p.summary.Breached++
		}
	}
	return nil
}
