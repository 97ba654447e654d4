package server

import (
	"context"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/server/problem"
	"github.com/px360/px360/server/surveypage"
)

const (
	surveyPath  = "/s/"
	stylePath   = surveyPath + "style.css/"
	maxFormSize = 256 << 10
)

// A surveyPages serves the page of a survey's link. Its answers are HTML, errors too; all else is as in the API.
type surveyPages struct {
	server  *Server
	surveys patientSurveys
	base    string // the path of the pages, as a browser sees it
}

// routeSurveyPages adds the pages: open to whoever has a link.
func (s *Server) routeSurveyPages() error {
	public, err := url.Parse(s.engine.publicURL)
	if err != nil {
		return err
	}
	p := surveyPages{s, s.publicSurveyOperations.surveys, public.Path + surveyPath}
	const page, unsubscribe = surveyPath + ":token/", surveyPath + ":token/unsubscribe/"
	s.routeStatic(stylePath, func(c echo.Context) error {
		return s.writeFile(c, map[string]string{"Content-Type": "text/css; charset=utf-8", "Cache-Control": "public, max-age=300"}, surveypage.Style)
	})
	for path, handlers := range map[string][2]func(echo.Context) error{
		page:        {p.show, p.post},
		unsubscribe: {p.askOptOut, p.optOut},
	} {
		const allow = "GET, HEAD, OPTIONS, POST"
		s.static[path] = true
		s.echo.GET(path, p.limited(handlers[0]))
		s.echo.POST(path, p.limited(handlers[1]))
		s.echo.RouteNotFound(path, func(c echo.Context) error { return methodNotAllowed(c, allow) })
	}
	return nil
}

// limited takes a place for a request and gives it a deadline, as the gate does for operations.
func (p surveyPages) limited(handle func(echo.Context) error) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := requestOf(c.Request().Context())
		r.place = &place{budgets: p.server.budgets, caller: limits.ClientAddress(r.clientIP)}
		header := c.Response().Header()
		header.Set("Content-Security-Policy", surveypage.Policy)
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Robots-Tag", "noindex")
		ctx, cancel := context.WithTimeout(r.in(c.Request().Context()), requestTimeout)
		defer cancel()
		c.SetRequest(c.Request().WithContext(ctx))
		defer r.place.leave()
		if err := p.answer(c, r.place, handle); err != nil {
			return p.writeError(c, err)
		}
		return nil
	}
}

// formKey is where the form of a POST is kept for its handler.
const formKey = "form"

// answer receives the form of a POST, so that no place waits for it, and then takes the place.
func (p surveyPages) answer(c echo.Context, place *place, handle func(echo.Context) error) error {
	if c.Request().Method == http.MethodPost {
		form, err := p.form(c, place)
		if err != nil {
			return err
		}
		c.Set(formKey, form)
	}
	if err := place.take(); err != nil {
		return err
	}
	return handle(c)
}

// writeError answers an error with a page. One for whoever has no right link is the same whatever is wrong with it, and
// in both languages, as nobody is known to ask.
func (p surveyPages) writeError(c echo.Context, err error) error {
	known := problem.Of(err)
	if known.Status >= http.StatusInternalServerError {
		ctx := c.Request().Context()
		p.server.log.ErrorContext(ctx, "request failed", "request_id", requestOf(ctx).id, "error", loggable(err))
	}
	for name, value := range known.Header {
		c.Response().Header().Set(name, value)
	}
	kind := surveypage.KindTrouble
	switch known.Status {
	case http.StatusNotFound:
		kind = surveypage.KindNotFound
	case http.StatusTooManyRequests:
		kind = surveypage.KindTooMany
	}
	return p.write(c, known.Status, surveypage.Page{Kind: kind, Language: rules.English, Again: &surveypage.Page{Kind: kind, Language: rules.Arabic}})
}

func (p surveyPages) write(c echo.Context, status int, page surveypage.Page) error {
	page.Base = p.base
	text, err := page.Render()
	if err != nil {
		return err
	}
	return p.server.writeText(c, status, echo.MIMETextHTMLCharsetUTF8, text)
}

// show shows the section that the query names, or the first in which a required answer is missing.
func (p surveyPages) show(c echo.Context) error {
	s, err := p.surveys.read(c.Request().Context(), c.Param("token"))
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(c.QueryParam("page"))
	if err != nil || number < 1 || number > len(s.sections) {
		number = max(1, len(s.sections))
		if i := slices.IndexFunc(s.sections, section.missing); i >= 0 {
			number = i + 1
		}
	}
	return p.showSurvey(c, http.StatusOK, s, c.QueryParam("lang"), number, nil)
}

// showSurvey shows a section of a survey, or what else there is to say of it.
func (p surveyPages) showSurvey(c echo.Context, status int, s patientSurvey, wanted string, number int, errs answerErrors) error {
	language, token := s.language(wanted), c.Param("token")
	view := surveypage.Page{
		Kind: surveypage.KindThanks, Language: language, Hospital: rules.In(language, s.HospitalName, s.HospitalNameAr),
		OptOut: p.address(token, "/unsubscribe", language, 0),
	}
	if s.completed() {
		view.Other = p.address(token, "", view.OtherLanguage(), 0)
		return p.write(c, http.StatusOK, view)
	}
	if !s.open() || len(s.sections) == 0 {
		return problem.NotFound
	}
	part := s.sections[number-1]
	view.Kind, view.Page, view.Pages, view.Errors = surveypage.KindSurvey, number, len(s.sections), len(errs) > 0
	view.Section = rules.In(language, part.name, part.nameAr)
	view.Action = p.address(token, "", language, number)
	view.Other = p.address(token, "", view.OtherLanguage(), number)
	for _, r := range part.responses {
		q := questionView(language, r)
		switch message := errs[questionKey{part.position, r.Question.ID}]; {
		case message == "":
		case message == rules.MessageRequired:
			q.Error = surveypage.Text(language, "missing")
		default:
			q.Error = surveypage.Text(language, "invalid")
		}
		view.Questions = append(view.Questions, q)
	}
	return p.write(c, status, view)
}

// questionView is a question in a language.
func questionView(language string, r rules.Response) surveypage.Question {
	q := r.Question
	view := surveypage.Question{
		ID: "q-" + q.ID.String(), Text: rules.In(language, q.Text, q.TextAr), Required: q.IsRequired, Input: "radio", Layout: "list",
	}
	switch q.Type {
	case rules.QuestionRating, rules.QuestionLikert, rules.QuestionNPS:
		view.Layout = "scale"
		view.Low, view.High = surveypage.Text(language, q.Type+"_low"), surveypage.Text(language, q.Type+"_high")
	case rules.QuestionMultipleChoice:
		if q.MaxChoices > 1 {
			view.Input = "checkbox"
		}
	case rules.QuestionText, rules.QuestionTextarea:
		view.Rows, view.Most = q.WordLimits()
		view.Words = strings.Join(r.Values, "\n")
		return view
	}
	labels := map[string]string{"yes": surveypage.Text(language, "yes"), "no": surveypage.Text(language, "no")}
	if q.Type == rules.QuestionMultipleChoice {
		clear(labels)
	}
	for _, choice := range q.Choices {
		labels[choice.Value] = rules.In(language, choice.Label, choice.LabelAr)
	}
	for _, answer := range q.Answers() {
		label, found := labels[answer]
		if !found {
			label = answer
		}
		view.Choices = append(view.Choices, surveypage.Choice{Value: answer, Label: label, Chosen: slices.Contains(r.Values, answer)})
	}
	return view
}

// address is that of a page. A number of 0 is none.
func (p surveyPages) address(token, below, language string, number int) string {
	query := url.Values{"lang": {language}}
	if number > 0 {
		query.Set("page", strconv.Itoa(number))
	}
	return p.base + token + below + "?" + query.Encode()
}

// post stores what was answered in a section, and goes where the button leads.
func (p surveyPages) post(c echo.Context) error {
	ctx := c.Request().Context()
	form, _ := c.Get(formKey).(url.Values)
	token, language := c.Param("token"), c.QueryParam("lang")
	number, _ := strconv.Atoi(c.QueryParam("page"))
	set := answerSet{answers: map[questionKey][]string{}, complete: form.Get("go") == "finish"}
	if language == rules.English || language == rules.Arabic {
		set.language = language
	}
	for name, values := range form {
		id, found := strings.CutPrefix(name, "q-")
		if question, err := uuid.Parse(id); found && err == nil {
			set.answers[questionKey{int32(number), question}] = values
		}
	}
	s, errs, err := p.surveys.answer(ctx, token, set, false)
	if err != nil {
		return err
	}
	if !s.open() || len(s.sections) == 0 {
		return p.showSurvey(c, http.StatusOK, s, language, 1, nil)
	}
	number = min(max(number, 1), len(s.sections))
	here := s.sections[number-1]
	if form.Get("go") == "next" {
		for _, r := range here.responses {
			if message := r.Question.CheckAnswer(r.Values); message != "" {
				errs[questionKey{here.position, r.Question.ID}] = message
			}
		}
	}
	switch {
	case form.Get("go") == "back":
		number = max(number-1, 1)
	case len(errs) > 0:
		if i := slices.IndexFunc(s.sections, section.missing); i >= 0 && set.complete {
			number = i + 1
		}
		return p.showSurvey(c, http.StatusUnprocessableEntity, s, language, number, errs)
	default:
		number = min(number+1, len(s.sections))
	}
	return c.Redirect(http.StatusSeeOther, p.address(token, "", s.language(language), number))
}

// form reads what a browser sends. Browsers send UTF-8 without NUL; what others send is made so.
func (p surveyPages) form(c echo.Context, place *place) (url.Values, error) {
	raw, err := p.server.receiveBody(c, place, maxFormSize)
	if err != nil {
		return nil, err
	}
	if kind, _, err := mime.ParseMediaType(c.Request().Header.Get("Content-Type")); err != nil || kind != echo.MIMEApplicationForm {
		return url.Values{}, nil // a mail program that unsubscribes may send multipart/form-data
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return nil, problem.BadRequest("The request could not be read.")
	}
	for _, values := range form {
		for i := range values {
			values[i] = strings.ReplaceAll(strings.ToValidUTF8(values[i], "�"), "\x00", "�")
		}
	}
	return form, nil
}

// askOptOut asks for confirmation, as nothing that is only looked at may change anything: mail programs open links.
func (p surveyPages) askOptOut(c echo.Context) error {
	return p.showOptOut(c, surveypage.KindOptOut, answerSet{})
}

// optOut keeps the hospital from writing to the patient. Mail programs post here too (RFC 8058).
func (p surveyPages) optOut(c echo.Context) error {
	return p.showOptOut(c, surveypage.KindOptedOut, answerSet{optOut: true})
}

func (p surveyPages) showOptOut(c echo.Context, kind string, set answerSet) error {
	token := c.Param("token")
	s, _, err := p.surveys.answer(c.Request().Context(), token, set, false)
	if err != nil {
		return err
	}
	language := s.language(c.QueryParam("lang"))
	view := surveypage.Page{Kind: kind, Language: language, Hospital: rules.In(language, s.HospitalName, s.HospitalNameAr)}
	view.Other = p.address(token, "/unsubscribe", view.OtherLanguage(), 0)
	view.Action, view.Back = p.address(token, "/unsubscribe", language, 0), p.address(token, "", language, 0)
	return p.write(c, http.StatusOK, view)
}
