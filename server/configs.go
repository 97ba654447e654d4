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

type configRows = resource[api.IntegrationConfig, api.IntegrationConfigCreate, api.IntegrationConfigCreate, api.IntegrationConfigUpdate, db.ConfigInsertParams]

// configs are kept beside api.Resources for the operations that write an API key.
type configs struct {
	list[api.ListIntegrationConfigsParams, api.IntegrationConfigList]
	*configRows
}

func newConfigs(s *Server, c *checks) configs {
	rows := &configRows{
		reader: reader[api.IntegrationConfig]{s, func(q *db.Queries, ctx context.Context, row rowID) (api.IntegrationConfig, error) {
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
		defaults: db.ConfigInsertParams{IsActive: true, ConfigJSON: json.RawMessage("{}")},
		id:       func(fields *db.ConfigInsertParams) *uuid.UUID { return &fields.ID },
		hospital: func(fields db.ConfigInsertParams) *uuid.UUID { return fields.Hospital },
	}
	return configs{
		newList[api.ListIntegrationConfigsParams](s, c, (*db.Queries).ConfigList, (*db.Queries).ConfigCount,
			func(row db.ConfigListRow) api.IntegrationConfig { return api.IntegrationConfig(row) },
			func(p page[api.IntegrationConfig]) api.IntegrationConfigList { return api.IntegrationConfigList(p) }, "Self"),
		rows.bind(c, "APIKey"),
	}
}

// CreateIntegrationConfig keeps the client's key, or makes one and shows it in this one answer. Of either, only a
// keyed hash is stored.
func (s *Server) CreateIntegrationConfig(ctx context.Context, body api.IntegrationConfigCreate) (api.IntegrationConfigCreated, error) {
	key, shown := value(body.APIKey), ""
	if key == "" {
		key = auth.NewAPIKey()
		shown = key
	}
	row, err := s.configs.createWith(ctx, body, s.writeKey(key))
	answer := s.configCreated.convert(row)
	answer.APIKey = shown
	return answer, err
}

// ReplaceIntegrationConfig replaces a config; without a key in the body it keeps the one it has.
func (s *Server) ReplaceIntegrationConfig(ctx context.Context, id uuid.UUID, body api.IntegrationConfigCreate) (api.IntegrationConfig, error) {
	return s.configs.replaceWith(ctx, id, body, s.writeKey(value(body.APIKey)))
}

// UpdateIntegrationConfig changes a config; without a key in the body it keeps the one it has.
func (s *Server) UpdateIntegrationConfig(ctx context.Context, id uuid.UUID, body api.IntegrationConfigUpdate) (api.IntegrationConfig, error) {
	return s.configs.updateWith(ctx, id, body, s.writeKey(value(body.APIKey)))
}

// RotateIntegrationConfigKey replaces the key. The old one is revoked at once.
func (s *Server) RotateIntegrationConfigKey(ctx context.Context, id uuid.UUID) (api.RotatedKey, error) {
	key := auth.NewAPIKey()
	_, err := s.configs.updateWith(ctx, id, api.IntegrationConfigUpdate{}, s.writeKey(key))
	return api.RotatedKey{ID: id, APIKey: key}, err
}

// writeKey stores the hash of a key with the row; nil for an empty key.
func (s *Server) writeKey(key string) hook[db.ConfigInsertParams] {
	if key == "" {
		return nil
	}
	return func(ctx context.Context, q *db.Queries, w *write[db.ConfigInsertParams]) error {
		// The constraint compares one hash; after a change of the secret the same key may be stored under another.
		taken, err := q.ConfigHasKey(ctx, db.ConfigHasKeyParams{Hashes: s.keys.Hashes(key), ID: w.id})
		if err != nil {
			return err
		}
		if taken {
			return problem.InvalidField("api_key", "integration config with this api key already exists.")
		}
		w.row.APIKeyHash = s.keys.Hash(key)
		w.changed = append(w.changed, "api_key")
		return nil
	}
}

// value is what p points at, or the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
