package main

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"
)

// A truth is what the database has after a run.
type truth struct {
	events   map[int64][]*storedEvent // by the number in the payload
	strange  int                      // events without a number
	visits   map[string][]*storedEvent
	journeys map[string]*storedJourney // by encounter
	byID     map[uuid.UUID]*storedJourney
	audits   map[string]int // rows by request id
}

type storedEvent struct {
	Seq         int64
	Number      *int64
	ID          uuid.UUID
	Encounter   string
	Code        string
	Status      string
	Reason      string
	Attempts    int32
	ReceivedAt  time.Time
	ProcessedAt *time.Time
}

type storedJourney struct {
	ID          uuid.UUID
	Encounter   string
	Status      string
	CompletedAt *time.Time
	stages      []*storedStage
}

type storedStage struct {
	Journey     uuid.UUID
	Order       int32
	Status      string
	CompletedAt *time.Time
	Event       *uuid.UUID
	Surveys     int64
	SurveyDue   *time.Time
}

// readTruth reads everything.
func (h *harness) readTruth(ctx context.Context) (*truth, error) {
	conn, err := h.cluster.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	pgxuuid.Register(conn.TypeMap())
	t := &truth{
		events: map[int64][]*storedEvent{}, visits: map[string][]*storedEvent{}, journeys: map[string]*storedJourney{},
		byID: map[uuid.UUID]*storedJourney{}, audits: map[string]int{},
	}
	events, err := rowsOf[storedEvent](ctx, conn, `
		SELECT seq, (payload_json ->> 'chaos')::bigint AS number, id, encounter_id AS encounter, event_code AS code, status, reason,
		    attempts, received_at, processed_at
		FROM events WHERE source_system = $1 ORDER BY seq`, sourceSystem)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		t.visits[e.Encounter] = append(t.visits[e.Encounter], e)
		if e.Number == nil {
			t.strange++
			continue
		}
		t.events[*e.Number] = append(t.events[*e.Number], e)
	}
	journeys, err := rowsOf[storedJourney](ctx, conn, `SELECT id, encounter_id AS encounter, status, completed_at FROM journey_instances
		WHERE hospital_id = $1`, h.traffic.world.hospital)
	if err != nil {
		return nil, err
	}
	for _, j := range journeys {
		t.journeys[j.Encounter], t.byID[j.ID] = j, j
	}
	stages, err := rowsOf[storedStage](ctx, conn, `
		SELECT s.journey_instance_id AS journey, s."order", s.status, s.completed_at, s.completed_by_event AS event,
		    count(v.id) AS surveys, max(v.due_at) AS survey_due
		FROM stage_instances s LEFT JOIN surveys v ON v.stage_instance_id = s.id
		WHERE s.hospital_id = $1
		GROUP BY s.id ORDER BY s.journey_instance_id, s."order"`, h.traffic.world.hospital)
	if err != nil {
		return nil, err
	}
	for _, s := range stages {
		t.byID[s.Journey].stages = append(t.byID[s.Journey].stages, s)
	}
	rows, err := conn.Query(ctx, `SELECT request_id, count(*)::integer FROM audit_log GROUP BY request_id`)
	if err != nil {
		return nil, err
	}
	var request string
	var count int
	_, err = pgx.ForEachRow(rows, []any{&request, &count}, func() error {
		t.audits[request] = count
		return nil
	})
	return t, err
}

func rowsOf[T any](ctx context.Context, conn *pgx.Conn, query string, args ...any) ([]*T, error) {
	rows, err := conn.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[T])
}
