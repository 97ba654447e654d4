package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/oapi-codegen/nullable"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/tests/hospitalday"
)

// placeholder is sent where the API requires a text that the day lacks, such as a physician's first
// name.
const placeholder = "—"

// pageSize is the maximum page size.
var pageSize = ptr(client.PageSize(100))

// stage is a stage of the plan, with the id of its template.
type stage struct {
	hospitalday.Stage
	template client.ID
}

// createCatalogue creates what events refer to: people, places, templates, and the journeys that
// are created before their first event.
func (p *runner) createCatalogue(ctx context.Context) error {
	begun := time.Now()
	hospitals, err := ensureAll(ctx, p, p.hospitals(), []hospitalday.Hospital{p.plan.Hospital})
	if err != nil {
		return err
	}
	p.hospital = hospitals[p.plan.Hospital.Code]
	departments, err := ensureAll(ctx, p, p.departments(), p.day.Departments)
	if err != nil {
		return err
	}
	if _, err := ensureAll(ctx, p, p.physicians(), p.day.Physicians); err != nil {
		return err
	}
	templates, err := p.createTemplates(ctx)
	if err != nil {
		return err
	}
	patients, err := ensureAll(ctx, p, p.patients(), p.day.Patients)
	if err != nil {
		return err
	}
	p.journeys = p.journeysOf(templates, patients, departments)
	var early []hospitalday.Encounter
	for i, encounter := range p.day.Encounters {
		if _, ok := p.plan.Template(encounter.JourneyType); ok && p.day.CreateAfter(i) < 0 {
			early = append(early, encounter)
		}
	}
	if _, err := ensureAll(ctx, p, p.journeys, early); err != nil {
		return err
	}
	p.summary.CatalogueTime = time.Since(begun)
	return nil
}

// createTemplates creates surveys, journey templates and their stages, and returns the journey
// templates by name.
func (p *runner) createTemplates(ctx context.Context) (map[string]client.ID, error) {
	surveys, err := ensureAll(ctx, p, p.surveys(), p.plan.Surveys)
	if err != nil {
		return nil, err
	}
	templates, err := ensureAll(ctx, p, p.templates(), p.plan.Templates)
	if err != nil {
		return nil, err
	}
	var stages []stage
	for _, template := range p.plan.Templates {
		for _, planned := range template.Stages {
			stages = append(stages, stage{planned, templates[template.Name]})
		}
	}
	_, err = ensureAll(ctx, p, p.stages(templates, surveys), stages)
	return templates, err
}

// ensureAll creates the missing rows of wants, with progress output, and returns all ids by key.
func ensureAll[Want, Row any](ctx context.Context, p *runner, c *collection[Want, Row], wants []Want) (map[string]client.ID, error) {
	p.progress.start(c.noun, len(wants))
	if err := c.load(ctx); err != nil {
		return nil, err
	}
	created, err := c.ensure(ctx, wants, p.progress.add)
	if err != nil {
		return nil, err
	}
	p.summary.Catalogue = append(p.summary.Catalogue, Made{c.noun, created, len(wants) - created})
	p.progress.finish("%d created, %d there before", created, len(wants)-created)
	return c.ids, nil
}

func (p *runner) hospitals() *collection[hospitalday.Hospital, client.Hospital] {
	return &collection[hospitalday.Hospital, client.Hospital]{
		noun: "hospitals",
		key:  func(h hospitalday.Hospital) string { return h.Code },
		list: func(ctx context.Context) iter.Seq2[client.Hospital, error] {
			return client.All(ctx, func(ctx context.Context, page *client.Page) (*client.ListHospitalsResponse, error) {
				return p.api.ListHospitalsWithResponse(ctx, &client.ListHospitalsParams{
					Search: &p.plan.Hospital.Code, Page: page, PageSize: pageSize,
				})
			})
		},
		keyOf: func(h client.Hospital) (string, client.ID) { return h.Code, h.ID },
		create: func(ctx context.Context, h hospitalday.Hospital) (client.ID, error) {
			return createdID(p.api.CreateHospital(ctx, client.HospitalCreate{Code: h.Code, Name: h.Name, NameAr: &h.NameAr}))
		},
	}
}

func (p *runner) departments() *collection[hospitalday.Department, client.Department] {
	return &collection[hospitalday.Department, client.Department]{
		noun: "departments",
		key:  func(d hospitalday.Department) string { return d.Code },
		list: func(ctx context.Context) iter.Seq2[client.Department, error] {
			return client.All(ctx, func(ctx context.Context, page *client.Page) (*client.ListDepartmentsResponse, error) {
				return p.api.ListDepartmentsWithResponse(ctx, &client.ListDepartmentsParams{
					Hospital: &p.hospital, Page: page, PageSize: pageSize,
				})
			})
		},
		keyOf: func(d client.Department) (string, client.ID) { return d.Code, d.ID },
		create: func(ctx context.Context, d hospitalday.Department) (client.ID, error) {
			return createdID(p.api.CreateDepartment(ctx, client.DepartmentCreate{
				Hospital: p.hospital, Code: d.Code, Name: d.Name, Location: &d.Location,
			}))
		},
	}
}

func (p *runner) physicians() *collection[hospitalday.Physician, client.Physician] {
	return &collection[hospitalday.Physician, client.Physician]{
		noun: "physicians",
		key:  func(d hospitalday.Physician) string { return d.LicenseNumber },
		list: func(ctx context.Context) iter.Seq2[client.Physician, error] {
			return client.All(ctx, func(ctx context.Context, page *client.Page) (*client.ListPhysiciansResponse, error) {
				return p.api.ListPhysiciansWithResponse(ctx, &client.ListPhysiciansParams{
					Hospital: &p.hospital, Page: page, PageSize: pageSize,
				})
			})
		},
		keyOf: func(d client.Physician) (string, client.ID) { return d.LicenseNumber, d.ID },
		create: func(ctx context.Context, d hospitalday.Physician) (client.ID, error) {
			return createdID(p.api.CreatePhysician(ctx, client.PhysicianCreate{
				Hospital: p.hospital, LicenseNumber: d.LicenseNumber, FirstName: orPlaceholder(d.FirstName),
				LastName: orPlaceholder(d.LastName), Specialization: orPlaceholder(d.Specialization),
			}))
		},
	}
}

func (p *runner) patients() *collection[hospitalday.Patient, client.Patient] {
	return &collection[hospitalday.Patient, client.Patient]{
		noun: "patients",
		key:  func(d hospitalday.Patient) string { return d.MRN },
		list: func(ctx context.Context) iter.Seq2[client.Patient, error] {
			return client.All(ctx, func(ctx context.Context, page *client.Page) (*client.ListPatientsResponse, error) {
				return p.api.ListPatientsWithResponse(ctx, &client.ListPatientsParams{
					PrimaryHospital: &p.hospital, Page: page, PageSize: pageSize,
				})
			})
		},
		keyOf: func(d client.Patient) (string, client.ID) { return d.Mrn, d.ID },
		create: func(ctx context.Context, d hospitalday.Patient) (client.ID, error) {
			return createdID(p.api.CreatePatient(ctx, client.PatientCreate{
				PrimaryHospital: nullable.NewNullableWithValue(p.hospital),
				Mrn:             d.MRN, NationalID: &d.NationalID,
				FirstName: orPlaceholder(d.FirstName), LastName: orPlaceholder(d.LastName),
				DateOfBirth: nullable.NewNullableWithValue(d.DateOfBirth), Gender: ptr(client.Gender(d.Gender)),
				Phone: &d.Phone, Address: &d.Address, City: &d.City, Status: ptr(client.ActiveStatus(d.Status)),
			}))
		},
	}
}

func (p *runner) surveys() *collection[hospitalday.SurveyTemplate, client.SurveyTemplate] {
	return &collection[hospitalday.SurveyTemplate, client.SurveyTemplate]{
		noun: "survey templates",
		key:  func(s hospitalday.SurveyTemplate) string { return s.Name },
		list: func(ctx context.Context) iter.Seq2[client.SurveyTemplate, error] {
			return client.All(ctx, func(ctx context.Context, page *client.Page) (*client.ListSurveyTemplatesResponse, error) {
				return p.api.ListSurveyTemplatesWithResponse(ctx, &client.ListSurveyTemplatesParams{
					Hospital: &p.hospital, Page: page, PageSize: pageSize,
				})
			})
		},
		keyOf: func(s client.SurveyTemplate) (string, client.ID) { return s.Name, s.ID },
		create: func(ctx context.Context, s hospitalday.SurveyTemplate) (client.ID, error) {
			return createdID(p.api.CreateSurveyTemplate(ctx, client.SurveyTemplateCreate{
				Hospital: p.hospital, Name: s.Name, NameAr: &s.NameAr,
			}))
		},
	}
}

func (p *runner) templates() *collection[hospitalday.Template, client.JourneyTemplate] {
	return &collection[hospitalday.Template, client.JourneyTemplate]{
		noun: "journey templates",
		key:  func(t hospitalday.Template) string { return t.Name },
		list: func(ctx context.Context) iter.Seq2[client.JourneyTemplate, error] {
			return client.All(ctx, func(ctx context.Context, page *client.Page) (*client.ListJourneyTemplatesResponse, error) {
				return p.api.ListJourneyTemplatesWithResponse(ctx, &client.ListJourneyTemplatesParams{
					Hospital: &p.hospital, Page: page, PageSize: pageSize,
				})
			})
		},
		keyOf: func(t client.JourneyTemplate) (string, client.ID) { return t.Name, t.ID },
		create: func(ctx context.Context, t hospitalday.Template) (client.ID, error) {
			return createdID(p.api.CreateJourneyTemplate(ctx, client.JourneyTemplateCreate{
				Hospital: p.hospital, Name: t.Name, NameAr: &t.NameAr,
				JourneyType: client.JourneyType(t.JourneyType), IsDefault: ptr(true),
			}))
		},
	}
}

// stages are identified by template and code.
func (p *runner) stages(templates, surveys map[string]client.ID) *collection[stage, client.StageTemplate] {
	stageKey := func(template client.ID, code string) string { return template.String() + " " + code }
	return &collection[stage, client.StageTemplate]{
		noun: "stage templates",
		key:  func(s stage) string { return stageKey(s.template, s.Code) },
		list: func(ctx context.Context) iter.Seq2[client.StageTemplate, error] {
			return func(yield func(client.StageTemplate, error) bool) {
				for _, template := range templates {
					rows := client.All(ctx, func(ctx context.Context, page *client.Page) (*client.ListStageTemplatesResponse, error) {
						return p.api.ListStageTemplatesWithResponse(ctx, &client.ListStageTemplatesParams{
							JourneyTemplate: &template, Page: page, PageSize: pageSize,
						})
					})
					for row, err := range rows {
						if !yield(row, err) {
							return
						}
					}
				}
			}
		},
		keyOf: func(s client.StageTemplate) (string, client.ID) { return stageKey(s.JourneyTemplate, s.Code), s.ID },
		create: func(ctx context.Context, s stage) (client.ID, error) {
			return createdID(p.api.CreateStageTemplate(ctx, client.StageTemplateCreate{
				JourneyTemplate: s.template, Name: s.Name, NameAr: &s.NameAr, Code: s.Code, Order: int32(s.Order),
				TriggerEventCode: s.TriggerEventCode, SurveyTemplate: reference(surveys, s.SurveyTemplate),
				AutoSendSurvey: &s.AutoSendSurvey, SurveyDelayHours: ptr(int32(s.SurveyDelayHours)),
				RequiresPhysician: &s.RequiresPhysician, RequiresDepartment: &s.RequiresDepartment, IsOptional: &s.IsOptional,
			}))
		},
	}
}

// journeysOf takes the ids by template name, MRN and department code.
func (p *runner) journeysOf(templates, patients, departments map[string]client.ID) *collection[hospitalday.Encounter, client.JourneyInstance] {
	return &collection[hospitalday.Encounter, client.JourneyInstance]{
		noun: "journeys",
		key:  func(e hospitalday.Encounter) string { return e.EncounterID },
		list: func(ctx context.Context) iter.Seq2[client.JourneyInstance, error] {
			return client.All(ctx, func(ctx context.Context, page *client.Page) (*client.ListJourneyInstancesResponse, error) {
				return p.api.ListJourneyInstancesWithResponse(ctx, &client.ListJourneyInstancesParams{
					Hospital: &p.hospital, Page: page, PageSize: pageSize,
				})
			})
		},
		keyOf: func(j client.JourneyInstance) (string, client.ID) { return j.EncounterID, j.ID },
		create: func(ctx context.Context, e hospitalday.Encounter) (client.ID, error) {
			template, _ := p.plan.Template(e.JourneyType)
			return createdID(p.api.CreateJourneyInstance(ctx, client.JourneyInstanceCreate{
				JourneyTemplate: templates[template.Name], Hospital: p.hospital, Patient: patients[e.MRN],
				Department: reference(departments, e.DepartmentCode), EncounterID: e.EncounterID, StartedAt: &e.StartedAt,
			}))
		},
	}
}

// createdID reads the id of a created row.
func createdID(response *http.Response, err error) (client.ID, error) {
	if err != nil {
		return client.ID{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return client.ID{}, err
	}
	if err := client.Check(response, body); err != nil {
		return client.ID{}, err
	}
	var row struct{ ID client.ID }
	if err := json.Unmarshal(body, &row); err != nil {
		return client.ID{}, fmt.Errorf("the answer is no row: %w", err)
	}
	return row.ID, nil
}

func orPlaceholder(text string) string {
	if text == "" {
		return placeholder
	}
	return text
}

// reference is the id of the key, or null if there is none.
func reference(ids map[string]client.ID, key string) nullable.Nullable[client.ID] {
	if id, ok := ids[key]; ok {
		return nullable.NewNullableWithValue(id)
	}
	return nullable.NewNullNullable[client.ID]()
}
