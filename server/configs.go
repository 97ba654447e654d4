package server

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server/auth"
)

var configs = &resource[api.IntegrationConfig, db.ConfigListParams, db.ConfigInsertParams]{
	collection: collection[api.IntegrationConfig, db.ConfigListParams]{
		noun: "config",
		list: func(q *db.Queries, ctx context.Context, filter db.ConfigListParams) ([]api.IntegrationConfig, error) {
			rows, err := q.ConfigList(ctx, filter)
			return each(rows, err, func(row db.ConfigListRow) api.IntegrationConfig { return api.IntegrationConfig(row) })
		},
		count: func(q *db.Queries, ctx context.Context, filter db.ConfigListParams) (int64, error) {
			return q.ConfigCount(ctx, fill[db.ConfigCountParams](filter))
		},
	},
	lock: func(q *db.Queries, ctx context.Context, id uuid.UUID, scope *uuid.UUID) (db.ConfigInsertParams, error) {
		row, err := q.ConfigLock(ctx, db.ConfigLockParams{ID: id, Scope: scope})
		return db.ConfigInsertParams(row), err
	},
	insert: (*db.Queries).ConfigInsert,
	update: func(q *db.Queries, ctx context.Context, row db.ConfigInsertParams) error {
		return q.ConfigUpdate(ctx, db.ConfigUpdateParams(row))
	},
	remove: (*db.Queries).ConfigDelete,
	fresh:  db.ConfigInsertParams{IsActive: true, ConfigJSON: json.RawMessage("{}")},
}

func (s *Server) ListIntegrationConfigs(ctx context.Context, r api.ListIntegrationConfigsRequestObject) (api.ListIntegrationConfigsResponseObject, error) {
	page, err := listPage(ctx, s, &configs.collection, r.Params)
	return api.ListIntegrationConfigs200JSONResponse(page), err
}

// CreateIntegrationConfig keeps the client's key, or makes one and shows it in this one answer. Of
// either, only a keyed hash is stored.
func (s *Server) CreateIntegrationConfig(ctx context.Context, r api.CreateIntegrationConfigRequestObject) (api.CreateIntegrationConfigResponseObject, error) {
	key, shown := text(r.Body.APIKey), ""
	if key == "" {
		key = auth.NewAPIKey()
		shown = key
	}
	row, err := create(ctx, s, s.configsWithKey(key), r.Body)
	answer := fill[api.IntegrationConfigCreated](row)
	answer.APIKey = shown
	return api.CreateIntegrationConfig201JSONResponse(answer), err
}

func (s *Server) ReplaceIntegrationConfig(ctx context.Context, r api.ReplaceIntegrationConfigRequestObject) (api.ReplaceIntegrationConfigResponseObject, error) {
	row, err := update(ctx, s, s.configsWithKey(text(r.Body.APIKey)), r.ID, r.Body)
	return api.ReplaceIntegrationConfig200JSONResponse(row), err
}

func (s *Server) UpdateIntegrationConfig(ctx context.Context, r api.UpdateIntegrationConfigRequestObject) (api.UpdateIntegrationConfigResponseObject, error) {
	row, err := update(ctx, s, s.configsWithKey(text(r.Body.APIKey)), r.ID, r.Body)
	return api.UpdateIntegrationConfig200JSONResponse(row), err
}

// RotateIntegrationConfigKey puts a new key in the place of the old one, which ends at once.
func (s *Server) RotateIntegrationConfigKey(ctx context.Context, r api.RotateIntegrationConfigKeyRequestObject) (api.RotateIntegrationConfigKeyResponseObject, error) {
	key := auth.NewAPIKey()
	_, err := update(ctx, s, s.configsWithKey(key), r.ID, &api.IntegrationConfigUpdate{})
	return api.RotateIntegrationConfigKey200JSONResponse{ID: r.ID, APIKey: key}, err
}

// configsWithKey writes configs with this key; an empty one leaves the key that there is.
func (s *Server) configsWithKey(key string) *resource[api.IntegrationConfig, db.ConfigListParams, db.ConfigInsertParams] {
	if key == "" {
		return configs
	}
	keyed := *configs
	keyed.check = func(ctx context.Context, q *db.Queries, w *writing[db.ConfigInsertParams]) error {
		// The constraint knows the same key again only by the same hash, and the secret behind it may have changed.
		taken, err := q.ConfigHasKey(ctx, db.ConfigHasKeyParams{Hashes: s.keys.Hashes(key), ID: w.id})
		if err != nil {
			return err
		}
		if taken {
			return invalidField("api_key", "integration config with this api key already exists.")
		}
		w.row.APIKeyHash = s.keys.Hash(key)
		w.changed = append(w.changed, "api_key")
		return nil
	}
	return &keyed
}

func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

func (s *Server) RetrieveIntegrationConfig(ctx context.Context, r api.RetrieveIntegrationConfigRequestObject) (api.RetrieveIntegrationConfigResponseObject, error) {
	row, err := retrieve(ctx, s, &configs.collection, r.ID)
	return api.RetrieveIntegrationConfig200JSONResponse(row), err
}

func (s *Server) DeleteIntegrationConfig(ctx context.Context, r api.DeleteIntegrationConfigRequestObject) (api.DeleteIntegrationConfigResponseObject, error) {
	return api.DeleteIntegrationConfig204Response{}, remove(ctx, s, configs, r.ID)
}
