package client

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
)

// largestPage is asked for where the caller does not say how large a page is to be.
const largestPage = "100"

// page has the members of every list that the iterators need.
type page[Row any] struct {
	Next    *string `json:"next"`
	Results []Row   `json:"results"`
}

var errNextIsHere = errors.New("the next page is the page itself")

// all yields the rows of a list, page after page. It follows cursors, so rows that come or go meanwhile neither hide others
// nor make them come twice. From a page number, or with a server that has no cursors, pages are counted from the list's
// start, and they may.
func all[Row any](ctx context.Context, c *Client, o operation, options []CallOption) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		var none Row
		query := queryOf(o.query)
		if !query.Has("page_size") {
			query.Set("page_size", largestPage)
		}
		if !query.Has("page") && !query.Has("cursor") {
			query.Set("cursor", "")
		}
		for first := true; ; first = false {
			asked := o
			asked.query = query
			list, err := send[page[Row]](ctx, c, asked, options)
			if !first && isNotFound(err) {
				return // rows were deleted meanwhile: the page that was announced is gone
			}
			if err != nil {
				yield(none, err)
				return
			}
			for _, row := range list.Results {
				if !yield(row, nil) {
					return
				}
			}
			if list.Next == nil {
				return
			}
			if query, err = following(query, *list.Next); err != nil {
				yield(none, err)
				return
			}
		}
	}
}

// following is the query of the next page. Only the query of the link is followed: its host is what the server believes
// to be called by, and the credentials must not go to another.
func following(query url.Values, next string) (url.Values, error) {
	link, err := url.Parse(next)
	if err != nil {
		return nil, err
	}
	if link.RawQuery == "" || link.Query().Encode() == query.Encode() {
		return nil, errNextIsHere
	}
	return link.Query(), nil
}

func isNotFound(err error) bool {
	failure, ok := asError[*Error](err)
	return ok && failure.Status == http.StatusNotFound
}
