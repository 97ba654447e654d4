package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
)

var patients = &resource[api.Patient, db.PatientListParams, db.PatientInsertParams]{
	collection: collection[api.Patient, db.PatientListParams]{
		noun: "patient",
		list: func(q *db.Queries, ctx context.Context, filter db.PatientListParams) ([]api.Patient, error) {
			rows, err := q.PatientList(ctx, filter)
			return each(rows, err, func(row db.PatientListRow) api.Patient { return api.Patient(row) })
		},
		count: func(q *db.Queries, ctx context.Context, filter db.PatientListParams) (int64, error) {
			return q.PatientCount(ctx, fill[db.PatientCountParams](filter))
		},
	},
	lock: func(q *db.Queries, ctx context.Context, id uuid.UUID, scope *uuid.UUID) (db.PatientInsertParams, error) {
		row, err := q.PatientLock(ctx, db.PatientLockParams{ID: id, Scope: scope})
		return db.PatientInsertParams(row), err
	},
	insert: (*db.Queries).PatientInsert,
	update: func(q *db.Queries, ctx context.Context, row db.PatientInsertParams) error {
		return q.PatientUpdate(ctx, db.PatientUpdateParams(row))
	},
	remove: (*db.Queries).PatientDelete,
	fresh:  db.PatientInsertParams{Status: "active"},
	check:  checkPatient,
}

// checkPatient gives a new patient the hospital of whoever registers them, unless they say another;
// only a PX Admin may leave a patient without one, because then nobody else sees the patient.
func checkPatient(_ context.Context, _ *db.Queries, w *writing[db.PatientInsertParams]) error {
	if w.row.PrimaryHospital != nil || w.principal.IsPXAdmin() {
		return nil
	}
	if w.old != nil || says(w.body, "primary_hospital") {
		return invalidField("primary_hospital", messageNull)
	}
	w.row.PrimaryHospital = w.principal.Hospital
	return nil
}

func (s *Server) ListPatients(ctx context.Context, r api.ListPatientsRequestObject) (api.ListPatientsResponseObject, error) {
	page, err := listPage(ctx, s, &patients.collection, r.Params)
	return api.ListPatients200JSONResponse(page), err
}

func (s *Server) CreatePatient(ctx context.Context, r api.CreatePatientRequestObject) (api.CreatePatientResponseObject, error) {
	row, err := create(ctx, s, patients, r.Body)
	return api.CreatePatient201JSONResponse(row), err
}

func (s *Server) RetrievePatient(ctx context.Context, r api.RetrievePatientRequestObject) (api.RetrievePatientResponseObject, error) {
	row, err := retrieve(ctx, s, &patients.collection, r.ID)
	return api.RetrievePatient200JSONResponse(row), err
}

func (s *Server) ReplacePatient(ctx context.Context, r api.ReplacePatientRequestObject) (api.ReplacePatientResponseObject, error) {
	row, err := update(ctx, s, patients, r.ID, r.Body)
	return api.ReplacePatient200JSONResponse(row), err
}

func (s *Server) UpdatePatient(ctx context.Context, r api.UpdatePatientRequestObject) (api.UpdatePatientResponseObject, error) {
	row, err := update(ctx, s, patients, r.ID, r.Body)
	return api.UpdatePatient200JSONResponse(row), err
}

func (s *Server) DeletePatient(ctx context.Context, r api.DeletePatientRequestObject) (api.DeletePatientResponseObject, error) {
	return api.DeletePatient204Response{}, remove(ctx, s, patients, r.ID)
}
