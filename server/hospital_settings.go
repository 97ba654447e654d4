package server

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"time"
	_ "time/tzdata" // so that the zones do not depend on the machine

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/server/problem"
)

// hospitalSettingsOperations read and write what a hospital decides about its surveys. The settings are columns of the
// hospital, and changes of them are the hospital's in the audit.
type hospitalSettingsOperations struct{ settings *settingsRows }

type settingsRows = resource[api.HospitalSettings, api.HospitalSettings, api.HospitalSettings, api.HospitalSettingsUpdate, db.HospitalSettingsUpdateParams]

func newHospitalSettings(e *engine) *settingsRows {
	rows := &settingsRows{
		reader: reader[api.HospitalSettings]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.HospitalSettings, error) {
			found, err := q.HospitalSettingsGet(ctx, db.HospitalSettingsGetParams(row))
			return settingsOf(found), err
		}},
		noun: "hospital",
		lock: func(q *db.Queries, ctx context.Context, row rowID) (db.HospitalSettingsUpdateParams, error) {
			found, err := q.HospitalSettingsLock(ctx, db.HospitalSettingsLockParams(row))
			return db.HospitalSettingsUpdateParams(found), err
		},
		update:   (*db.Queries).HospitalSettingsUpdate,
		id:       func(fields *db.HospitalSettingsUpdateParams) *uuid.UUID { return &fields.ID },
		hospital: func(fields db.HospitalSettingsUpdateParams) *uuid.UUID { return &fields.ID },
		hooks:    hooks[db.HospitalSettingsUpdateParams]{checkUpdate: checkSettings},
	}
	return rows.bind(e, "QuietHours", "ContactCap")
}

func settingsOf(row db.HospitalSettingsGetRow) api.HospitalSettings {
	return api.HospitalSettings{
		Timezone: row.Timezone, Language: row.Language, Channels: row.Channels,
		QuietHours:    api.QuietHours{Start: row.QuietHoursStart, End: row.QuietHoursEnd},
		ContactCap:    api.ContactCap{Surveys: row.ContactCapSurveys, Days: row.ContactCapDays},
		BusinessHours: row.BusinessHours, Holidays: row.Holidays, ActionSLA: row.ActionSLA,
	}
}

// checkSettings refuses what no schema can tell.
func checkSettings(_ context.Context, _ *db.Queries, w *write[db.HospitalSettingsUpdateParams]) error {
	fields := problem.Fields{}
	// To Go, a blank name is UTC and Local is the machine's zone.
	if _, err := time.LoadLocation(w.row.Timezone); err != nil || w.row.Timezone == "Local" {
		fields.Add("timezone", "Unknown time zone.")
	}
	if len(slices.Compact(slices.Sorted(slices.Values(w.row.Channels)))) < len(w.row.Channels) {
		fields.Add("channels", "Name each channel once.")
	}
	if err := checkDeadlines(w, fields); err != nil {
		return err
	}
	if len(fields) > 0 {
		return problem.Invalid(fields)
	}
	return nil
}

// checkDeadlines refuses business hours that cannot be meant, and business clocks that would never run. Both settings are
// written in one spelling, so that the same ones are no change.
func checkDeadlines(w *write[db.HospitalSettingsUpdateParams], fields problem.Fields) error {
	hours, err := rewrite(w, "business_hours", w.old.BusinessHours, &w.row.BusinessHours, rules.BusinessHours.Normalized)
	if err != nil {
		return err
	}
	targets, err := rewrite(w, "action_sla", w.old.ActionSLA, &w.row.ActionSLA, func(t rules.Targets) rules.Targets { return t })
	if err != nil {
		return err
	}
	if _, err := rules.NewCalendar(hours, nil, "UTC"); errors.Is(err, rules.ErrIntervals) {
		fields.Add("business_hours", "Intervals must end after they begin and not overlap.")
	} else if err != nil {
		return err
	}
	if !targets.Some() {
		fields.Add("action_sla", "A target needs some time.")
	}
	if hours.Empty() && targets.UsesBusinessHours() {
		fields.Add("action_sla", "A business clock needs business hours.")
	}
	return nil
}

// rewrite reads a setting and writes it in its one spelling.
func rewrite[T any](w *write[db.HospitalSettingsUpdateParams], name string, old json.RawMessage, row *json.RawMessage, normalize func(T) T) (value T, err error) {
	var before T
	for text, into := range map[*json.RawMessage]*T{&old: &before, row: &value} {
		if err := json.Unmarshal(*text, into); err != nil {
			return value, err
		}
		*into = normalize(*into)
	}
	if reflect.DeepEqual(before, value) {
		w.changed = slices.DeleteFunc(w.changed, func(field string) bool { return field == name })
	}
	*row, err = json.Marshal(value)
	return value, err
}

// RetrieveHospitalSettings answers the settings of a hospital that the caller sees.
func (o hospitalSettingsOperations) RetrieveHospitalSettings(ctx context.Context, id uuid.UUID) (api.HospitalSettings, error) {
	return o.settings.Retrieve(ctx, id)
}

// ReplaceHospitalSettings writes all settings.
func (o hospitalSettingsOperations) ReplaceHospitalSettings(ctx context.Context, id uuid.UUID, body api.HospitalSettings) (api.HospitalSettings, error) {
	return o.settings.replaceWith(ctx, id, body, writeNested(&body.QuietHours, &body.ContactCap))
}

// UpdateHospitalSettings writes the settings that the body states.
func (o hospitalSettingsOperations) UpdateHospitalSettings(ctx context.Context, id uuid.UUID, body api.HospitalSettingsUpdate) (api.HospitalSettings, error) {
	return o.settings.updateWith(ctx, id, body, writeNested(body.QuietHours, body.ContactCap))
}

// writeNested writes the settings that have members; nil for those that are not stated.
func writeNested(quiet *api.QuietHours, contacts *api.ContactCap) hook[db.HospitalSettingsUpdateParams] {
	return func(_ context.Context, _ *db.Queries, w *write[db.HospitalSettingsUpdateParams]) error {
		if quiet != nil && *quiet != (api.QuietHours{Start: w.old.QuietHoursStart, End: w.old.QuietHoursEnd}) {
			w.row.QuietHoursStart, w.row.QuietHoursEnd = quiet.Start, quiet.End
			w.changed = append(w.changed, "quiet_hours")
		}
		if contacts != nil && *contacts != (api.ContactCap{Surveys: w.old.ContactCapSurveys, Days: w.old.ContactCapDays}) {
			w.row.ContactCapSurveys, w.row.ContactCapDays = contacts.Surveys, contacts.Days
			w.changed = append(w.changed, "contact_cap")
		}
		return nil
	}
}
