module example.org/partner

go 1.26.0

require github.com/px360/px360 v0.0.0

require (
	github.com/cenkalti/backoff/v5 v5.0.3 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/oapi-codegen/nullable v1.1.0 // indirect
	github.com/oapi-codegen/runtime v1.8.0 // indirect
	github.com/standard-webhooks/standard-webhooks/libraries v0.0.1 // indirect
)

replace github.com/px360/px360 => ../../..
