package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server/contract"
	"github.com/px360/px360/server/problem"
)

type patientRows = resource[api.Patient, api.PatientCreate, api.PatientCreate, api.PatientUpdate, db.PatientInsertParams]

func newPatients(e *engine) api.PatientResource {
	rows := &patientRows{
		reader: reader[api.Patient]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.Patient, error) {
			found, err := q.PatientGet(ctx, db.PatientGetParams(row))
			return api.Patient(found), err
		}},
		noun: "patient",
		lock: func(q *db.Queries, ctx context.Context, row rowID) (db.PatientInsertParams, error) {
			found, err := q.PatientLock(ctx, db.PatientLockParams(row))
			return db.PatientInsertParams(found), err
		},
		insert: (*db.Queries).PatientInsert,
		update: func(q *db.Queries, ctx context.Context, fields db.PatientInsertParams) error {
			return q.PatientUpdate(ctx, db.PatientUpdateParams(fields))
		},
		remove:   (*db.Queries).PatientDelete,
		defaults: db.PatientInsertParams{Status: "active"},
		id:       func(fields *db.PatientInsertParams) *uuid.UUID { return &fields.ID },
		hospital: func(fields db.PatientInsertParams) *uuid.UUID { return fields.PrimaryHospital },
		hooks: hooks[db.PatientInsertParams]{
			lockForUpdate: func(ctx context.Context, q *db.Queries, id uuid.UUID, stated db.PatientInsertParams) error {
				if err := lockHospitals(ctx, q, id, value(stated.PrimaryHospital)); err != nil {
					return err
				}
				_, err := q.PatientLockJourneys(ctx, id)
				return err
			},
			checkCreate: checkNewPatient,
			checkUpdate: checkPatient,
		},
	}
	return struct {
		list[api.ListPatientsParams, api.PatientList]
		*patientRows
	}{
		newList[api.ListPatientsParams](e, (*db.Queries).PatientList,
			func(row db.PatientListRow) api.Patient { return api.Patient(row) },
			func(p page[api.Patient]) api.PatientList { return api.PatientList(p) }, "Scope"),
		rows.bind(e),
	}
}

// checkNewPatient gives a new patient the hospital of whoever registers them, unless the body states
// another. A PX Admin may be of any hospital, so that theirs is not assumed.
func checkNewPatient(ctx context.Context, q *db.Queries, w *write[db.PatientInsertParams]) error {
	if w.row.PrimaryHospital == nil && !w.states("primary_hospital") && !w.principal.IsPXAdmin() {
		w.row.PrimaryHospital = w.principal.Hospital
	}
	return checkPatient(ctx, q, w)
}

// checkPatient lets only a PX Admin leave a patient without a hospital, because then nobody else sees the patient.
func checkPatient(_ context.Context, _ *db.Queries, w *write[db.PatientInsertParams]) error {
	if w.row.PrimaryHospital == nil && !w.principal.IsPXAdmin() {
		return problem.InvalidField("primary_hospital", contract.MessageNull)
	}
	return nil
}
