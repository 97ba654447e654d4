package server

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/problem"
)

// configOperations are those that write an API key.
type configOperations struct {
	configs *configRows
	keys    *auth.KeyHasher
	created mapping[api.IntegrationConfigCreated, api.IntegrationConfig]
}

type configRows = resource[api.IntegrationConfig, api.IntegrationConfigCreate, api.IntegrationConfigCreate, api.IntegrationConfigUpdate, db.ConfigInsertParams]

// newConfigResource answers the plain reads and writes.
func newConfigResource(e *engine, rows *configRows) api.ConfigResource {
	return struct {
		list[api.ListIntegrationConfigsParams, api.IntegrationConfigList]
		*configRows
	}{
		newList[api.ListIntegrationConfigsParams](e, (*db.Queries).ConfigList,
			func(row db.ConfigListRow) api.IntegrationConfig { return api.IntegrationConfig(row) },
			func(p page[api.IntegrationConfig]) api.IntegrationConfigList { return api.IntegrationConfigList(p) }, "Scope"),
		rows,
	}
}

func newConfigs(e *engine) *configRows {
	rows := &configRows{
		reader: reader[api.IntegrationConfig]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.IntegrationConfig, error) {
			found, err := q.ConfigGet(ctx, db.ConfigGetParams(row))
			return api.IntegrationConfig(found), err
		}},
		noun: "config",
		lock: func(q *db.Queries, ctx context.Context, row rowID) (db.ConfigInsertParams, error) {
			found, err := q.ConfigLock(ctx, db.ConfigLockParams(row))
			return db.ConfigInsertParams(found), err
		},
		insert: (*db.Queries).ConfigInsert,
		update: func(q *db.Queries, ctx context.Context, fields db.ConfigInsertParams) error {
			return q.ConfigUpdate(ctx, db.ConfigUpdateParams(fields))
		},
		remove:   (*db.Queries).ConfigDelete,
		defaults: db.ConfigInsertParams{IsActive: true, ConfigJSON: json.RawMessage("{}"), Hospitals: []uuid.UUID{}},
		id:       func(fields *db.ConfigInsertParams) *uuid.UUID { return &fields.ID },
		hospital: func(fields db.ConfigInsertParams) *uuid.UUID { return fields.Hospital },
	}
	rows.hooks.checkCreate, rows.hooks.checkUpdate = checkConfigHospitals, checkConfigHospitals
	return rows.bind(e, "APIKey")
}

// checkConfigHospitals lets a config have one hospital or name some, and not both.
func checkConfigHospitals(_ context.Context, _ *db.Queries, w *write[db.ConfigInsertParams]) error {
	if w.row.Hospital != nil && len(w.row.Hospitals) > 0 {
		return problem.InvalidField("hospitals", "Leave hospital null, or this empty.")
	}
	return nil
}

// CreateIntegrationConfig keeps the client's key, or makes one and shows it in this one answer. Of either, only a
// keyed hash is stored.
func (o configOperations) CreateIntegrationConfig(ctx context.Context, body api.IntegrationConfigCreate) (api.IntegrationConfigCreated, error) {
	key, shown := value(body.APIKey), ""
	if key == "" {
		key = auth.NewAPIKey()
		shown = key
	}
	row, err := o.configs.createWith(ctx, body, o.writeKey(key))
	answer := o.created.convert(row)
	answer.APIKey = shown
	return answer, err
}

// ReplaceIntegrationConfig replaces a config; without a key in the body it keeps the one it has.
func (o configOperations) ReplaceIntegrationConfig(ctx context.Context, id uuid.UUID, body api.IntegrationConfigCreate) (api.IntegrationConfig, error) {
	return o.configs.replaceWith(ctx, id, body, o.writeKey(value(body.APIKey)))
}

// UpdateIntegrationConfig changes a config; without a key in the body it keeps the one it has.
func (o configOperations) UpdateIntegrationConfig(ctx context.Context, id uuid.UUID, body api.IntegrationConfigUpdate) (api.IntegrationConfig, error) {
	return o.configs.updateWith(ctx, id, body, o.writeKey(value(body.APIKey)))
}

// RotateIntegrationConfigKey replaces the key. The old one is revoked at once.
func (o configOperations) RotateIntegrationConfigKey(ctx context.Context, id uuid.UUID) (api.RotatedKey, error) {
	key := auth.NewAPIKey()
	_, err := o.configs.updateWith(ctx, id, api.IntegrationConfigUpdate{}, o.writeKey(key))
	return api.RotatedKey{ID: id, APIKey: key}, err
}

// writeKey stores the hash of a key with the row; nil for an empty key.
func (o configOperations) writeKey(key string) hook[db.ConfigInsertParams] {
	if key == "" {
		return nil
	}
	return func(ctx context.Context, q *db.Queries, w *write[db.ConfigInsertParams]) error {
		// The constraint compares one hash; after a change of the secret the same key may be stored under another.
		taken, err := q.ConfigHasKey(ctx, db.ConfigHasKeyParams{Hashes: o.keys.Hashes(key), ID: w.id})
		if err != nil {
			return err
		}
		if taken {
			return problem.InvalidField("api_key", "integration config with this api key already exists.")
		}
		w.row.APIKeyHash = o.keys.Hash(key)
		w.changed = append(w.changed, "api_key")
		return nil
	}
}
