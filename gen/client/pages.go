package client

import (
	"context"
	"errors"
	"iter"
	"net/http"
)

// All yields every row of a list, page by page, and stops at the first error.
//
//	patients := client.All(ctx, func(ctx context.Context, page *client.Page) (*client.ListPatientsResponse, error) {
//		return api.ListPatientsWithResponse(ctx, &client.ListPatientsParams{Page: page, City: &city})
//	})
//	for patient, err := range patients {
//
// fetch must pass page on to the list's parameters, and may set any others; a page_size of 100 takes the fewest
// requests. Pages are counted from the start of the list, so rows that are added or deleted meanwhile may shift
// others, which are then missed or yielded twice. An ordering by ascending creation time avoids that for added rows.
func All[Row any, Response pager[Row]](
	ctx context.Context, fetch func(ctx context.Context, page *Page) (Response, error),
) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		var none Row
		for number := Page(1); ; number++ {
			response, err := fetch(ctx, &number)
			if err != nil {
				yield(none, err)
				return
			}
			rows, more, err := response.Rows()
			if pageDeleted(err, number) {
				return
			}
			if err != nil {
				yield(none, err)
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			if !more {
				return
			}
		}
	}
}

// pageDeleted reports that an announced page is gone, because rows were deleted meanwhile.
func pageDeleted(err error, number Page) bool {
	failure, ok := errors.AsType[*APIError](err)
	return ok && failure.StatusCode == http.StatusNotFound && number > 1
}

// pager is a generated list response. All infers the row type from its method Rows.
type pager[Row any] interface {
	Rows() (rows []Row, more bool, err error)
}

// list has the fields of every generated …List, so that each converts to it.
type list[Row any] struct {
	Count    int64
	Next     *string
	Previous *string
	Results  []Row
}

var errNoList = errors.New("the answer is no list: does the base URL lead to PX360?")

func rowsOf[Row any](response *http.Response, body []byte, page *list[Row]) ([]Row, bool, error) {
	if err := Check(response, body); err != nil {
		return nil, false, err
	}
	if page == nil {
		return nil, false, errNoList
	}
	return page.Results, page.Next != nil, nil
}

// Rows returns the rows of the page, and whether more pages follow.
func (r *ListAuditEntriesResponse) Rows() ([]AuditEntry, bool, error) {
	return rowsOf(r.HTTPResponse, r.Body, (*list[AuditEntry])(r.JSON200))
}

// Rows returns the rows of the page, and whether more pages follow.
func (r *ListRolesResponse) Rows() ([]Role, bool, error) {
	return rowsOf(r.HTTPResponse, r.Body, (*list[Role])(r.JSON200))
}

// Rows returns the rows of the page, and whether more pages follow.
func (r *ListUsersResponse) Rows() ([]User, bool, error) {
	return rowsOf(r.HTTPResponse, r.Body, (*list[User])(r.JSON200))
}

// Rows returns the rows of the page, and whether more pages follow.
func (r *ListIntegrationConfigsResponse) Rows() ([]IntegrationConfig, bool, error) {
	return rowsOf(r.HTTPResponse, r.Body, (*list[IntegrationConfig])(r.JSON200))
}

// Rows returns the rows of the page, and whether more pages follow.
func (r *ListEventsResponse) Rows() ([]Event, bool, error) {
	return rowsOf(r.HTTPResponse, r.Body, (*list[Event])(r.JSON200))
}

// Rows returns the rows of the page, and whether more pages follow.
func (r *ListJourneyInstancesResponse) Rows() ([]JourneyInstance, bool, error) {
	return rowsOf(r.HTTPResponse, r.Body, (*list[JourneyInstance])(r.JSON200))
}

// Rows returns the rows of the page, and whether more pages follow.
func (r *ListStageInstancesResponse) Rows() ([]StageInstance, bool, error) {
	return rowsOf(r.HTTPResponse, r.Body, (*list[StageInstance])(r.JSON200))
}

// Rows returns the rows of the page, and whether more pages follow.
func (r *ListStageTemplatesResponse) Rows() ([]StageTemplate, bool, error) {
	return rowsOf(r.HTTPResponse, r.Body, (*list[StageTemplate])(r.JSON200))
}

// Rows returns the rows of the page, and whether more pages follow.
func (r *ListJourneyTemplatesResponse) Rows() ([]JourneyTemplate, bool, error) {
	return rowsOf(r.HTTPResponse, r.Body, (*list[JourneyTemplate])(r.JSON200))
}

// Rows returns the rows of the page, and whether more pages follow.
func (r *ListDepartmentsResponse) Rows() ([]Department, bool, error) {
	return rowsOf(r.HTTPResponse, r.Body, (*list[Department])(r.JSON200))
}

// Rows returns the rows of the page, and whether more pages follow.
func (r *ListHospitalsResponse) Rows() ([]Hospital, bool, error) {
	return rowsOf(r.HTTPResponse, r.Body, (*list[Hospital])(r.JSON200))
}

// Rows returns the rows of the page, and whether more pages follow.
func (r *ListPatientsResponse) Rows() ([]Patient, bool, error) {
	return rowsOf(r.HTTPResponse, r.Body, (*list[Patient])(r.JSON200))
}

// Rows returns the rows of the page, and whether more pages follow.
func (r *ListPhysiciansResponse) Rows() ([]Physician, bool, error) {
	return rowsOf(r.HTTPResponse, r.Body, (*list[Physician])(r.JSON200))
}

// Rows returns the rows of the page, and whether more pages follow.
func (r *ListSurveyTemplatesResponse) Rows() ([]SurveyTemplate, bool, error) {
	return rowsOf(r.HTTPResponse, r.Body, (*list[SurveyTemplate])(r.JSON200))
}
