package demo

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/oapi-codegen/nullable"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/tests/hospitalday"
)

// standIn is sent where the API requires a text and the day has none, such as a physician's first
// name: a text that nobody takes for a name.
const standIn = "—"

// stage is a stage of the plan, in the template that exists by now.
type stage struct {
	hospitalday.Stage
	template client.ID
}

// fillCatalogue makes what events are about: people, places, templates, and the journeys that are
// known before their first event.
func (p *player) fillCatalogue(ctx context.Context) error {
	begun := time.Now()
	hospitals, err := ensured(ctx, p, p.hospitals(), []hospitalday.Hospital{p.plan.Hospital})
	if err != nil {
		return err
	}
	p.hospital = hospitals[p.plan.Hospital.Code]
	if err := p.moveDay(ctx); err != nil {
		return err
	}
	departments, err := ensured(ctx, p, p.departments(), p.day.Departments)
	if err != nil {
		return err
	}
	if _, err := ensured(ctx, p, p.physicians(), p.day.Physicians); err != nil {
		return err
	}
	templates, err := p.fillTemplates(ctx)
	if err != nil {
		return err
	}
	patients, err := ensured(ctx, p, p.patients(), p.day.Patients)
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
	if _, err := ensured(ctx, p, p.journeys, early); err != nil {
		return err
	}
	p.summary.CatalogueTime = time.Since(begun)
	return nil
}

// moveDay makes the day that before the hospital was created, in this run or an earlier one: surveys about visits of long
// ago are not sent.
func (p *player) moveDay(ctx context.Context) error {
	hospital, err := p.api.RetrieveHospital(ctx, p.hospital)
	if err != nil {
		return err
	}
	p.day = p.day.On(hospital.CreatedAt.AddDate(0, 0, -1))
	return nil
}

// Creations are repeated when their answer is lost, WithRepeats: the second one is refused because the first one exists.
// But two survey or journey templates may have the same name.

// fillTemplates makes surveys, journey templates and their stages, and returns the journey templates
// by name.
func (p *player) fillTemplates(ctx context.Context) (map[string]client.ID, error) {
	surveys, err := ensured(ctx, p, p.surveys(), p.plan.Surveys)
	if err != nil {
		return nil, err
	}
	templates, err := ensured(ctx, p, p.templates(), p.plan.Templates)
	if err != nil {
		return nil, err
	}
	var stages []stage
	for _, template := range p.plan.Templates {
		for _, planned := range template.Stages {
			stages = append(stages, stage{planned, templates[template.Name]})
		}
	}
	_, err = ensured(ctx, p, p.stages(templates, surveys), stages)
	return templates, err
}

// ensured makes what is missing of the wants, says so and returns the ids by key.
func ensured[Want, Row any](ctx context.Context, p *player, c *collection[Want, Row], wants []Want) (map[string]client.ID, error) {
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

func (p *player) hospitals() *collection[hospitalday.Hospital, client.Hospital] {
	return &collection[hospitalday.Hospital, client.Hospital]{
		noun: "hospitals",
		key:  func(h hospitalday.Hospital) string { return h.Code },
		list: func(ctx context.Context) iter.Seq2[client.Hospital, error] {
			return p.api.AllHospitals(ctx, &client.ListHospitalsParams{Search: &p.plan.Hospital.Code})
		},
		keyOf: func(h client.Hospital) (string, client.ID) { return h.Code, h.ID },
		create: func(ctx context.Context, h hospitalday.Hospital) (client.ID, error) {
			created, err := p.api.CreateHospital(ctx, client.HospitalCreate{Code: h.Code, Name: h.Name, NameAr: &h.NameAr}, client.WithRepeats())
			if err != nil {
				return client.ID{}, err
			}
			return created.ID, nil
		},
	}
}

func (p *player) departments() *collection[hospitalday.Department, client.Department] {
	return &collection[hospitalday.Department, client.Department]{
		noun: "departments",
		key:  func(d hospitalday.Department) string { return d.Code },
		list: func(ctx context.Context) iter.Seq2[client.Department, error] {
			return p.api.AllDepartments(ctx, &client.ListDepartmentsParams{Hospital: &p.hospital})
		},
		keyOf: func(d client.Department) (string, client.ID) { return d.Code, d.ID },
		create: func(ctx context.Context, d hospitalday.Department) (client.ID, error) {
			created, err := p.api.CreateDepartment(ctx, client.DepartmentCreate{
				Hospital: p.hospital, Code: d.Code, Name: d.Name, Location: &d.Location,
			}, client.WithRepeats())
			if err != nil {
				return client.ID{}, err
			}
			return created.ID, nil
		},
	}
}

func (p *player) physicians() *collection[hospitalday.Physician, client.Physician] {
	return &collection[hospitalday.Physician, client.Physician]{
		noun: "physicians",
		key:  func(d hospitalday.Physician) string { return d.LicenseNumber },
		list: func(ctx context.Context) iter.Seq2[client.Physician, error] {
			return p.api.AllPhysicians(ctx, &client.ListPhysiciansParams{Hospital: &p.hospital})
		},
		keyOf: func(d client.Physician) (string, client.ID) { return d.LicenseNumber, d.ID },
		create: func(ctx context.Context, d hospitalday.Physician) (client.ID, error) {
			created, err := p.api.CreatePhysician(ctx, client.PhysicianCreate{
				Hospital: p.hospital, LicenseNumber: d.LicenseNumber, FirstName: orStandIn(d.FirstName),
				LastName: orStandIn(d.LastName), Specialization: orStandIn(d.Specialization),
			}, client.WithRepeats())
			if err != nil {
				return client.ID{}, err
			}
			return created.ID, nil
		},
	}
}

func (p *player) patients() *collection[hospitalday.Patient, client.Patient] {
	return &collection[hospitalday.Patient, client.Patient]{
		noun: "patients",
		key:  func(d hospitalday.Patient) string { return d.MRN },
		list: func(ctx context.Context) iter.Seq2[client.Patient, error] {
			return p.api.AllPatients(ctx, &client.ListPatientsParams{PrimaryHospital: &p.hospital})
		},
		keyOf: func(d client.Patient) (string, client.ID) { return d.MRN, d.ID },
		create: func(ctx context.Context, d hospitalday.Patient) (client.ID, error) {
			created, err := p.api.CreatePatient(ctx, client.PatientCreate{
				PrimaryHospital: client.Value(p.hospital),
				MRN:             d.MRN, NationalID: &d.NationalID,
				FirstName: orStandIn(d.FirstName), LastName: orStandIn(d.LastName),
				DateOfBirth: client.Value(d.DateOfBirth), Gender: client.Ptr(client.Gender(d.Gender)),
				Phone: &d.Phone, Email: emailOf(d), Address: &d.Address, City: &d.City, Status: client.Ptr(client.ActiveStatus(d.Status)),
			}, client.WithRepeats())
			if err != nil {
				return client.ID{}, err
			}
			return created.ID, nil
		},
	}
}

// emailOf is an address that no mail server delivers to (RFC 2606). The day has none, and its phone numbers are nobody's.
// One patient in twenty has none.
func emailOf(d hospitalday.Patient) *string {
	if strings.HasSuffix(d.MRN, "00") || strings.HasSuffix(d.MRN, "20") || strings.HasSuffix(d.MRN, "40") || strings.HasSuffix(d.MRN, "60") || strings.HasSuffix(d.MRN, "80") {
		return nil
	}
	return client.Ptr(d.MRN + "@patients.example")
}

func (p *player) surveys() *collection[hospitalday.SurveyTemplate, client.SurveyTemplate] {
	return &collection[hospitalday.SurveyTemplate, client.SurveyTemplate]{
		noun: "survey templates",
		key:  func(s hospitalday.SurveyTemplate) string { return s.Name },
		list: func(ctx context.Context) iter.Seq2[client.SurveyTemplate, error] {
			return p.api.AllSurveyTemplates(ctx, &client.ListSurveyTemplatesParams{Hospital: &p.hospital})
		},
		keyOf: func(s client.SurveyTemplate) (string, client.ID) { return s.Name, s.ID },
		create: func(ctx context.Context, s hospitalday.SurveyTemplate) (client.ID, error) {
			created, err := p.api.CreateSurveyTemplate(ctx, client.SurveyTemplateCreate{
				Hospital: p.hospital, Name: s.Name, NameAr: &s.NameAr, Questions: questionsOf(s),
			})
			if err != nil {
				return client.ID{}, err
			}
			return created.ID, nil
		},
	}
}

func questionsOf(s hospitalday.SurveyTemplate) []client.SurveyQuestionWrite {
	questions := []client.SurveyQuestionWrite{}
	for _, q := range s.Questions {
		questions = append(questions, client.SurveyQuestionWrite{
			Text: q.Text, TextAr: &q.TextAr, QuestionType: client.QuestionType(q.Type), IsRequired: &q.Required, ActionOn: client.Ptr(append([]string{}, q.ActionOn...)),
		})
	}
	return questions
}

func (p *player) templates() *collection[hospitalday.Template, client.JourneyTemplate] {
	return &collection[hospitalday.Template, client.JourneyTemplate]{
		noun: "journey templates",
		key:  func(t hospitalday.Template) string { return t.Name },
		list: func(ctx context.Context) iter.Seq2[client.JourneyTemplate, error] {
			return p.api.AllJourneyTemplates(ctx, &client.ListJourneyTemplatesParams{Hospital: &p.hospital})
		},
		keyOf: func(t client.JourneyTemplate) (string, client.ID) { return t.Name, t.ID },
		create: func(ctx context.Context, t hospitalday.Template) (client.ID, error) {
			created, err := p.api.CreateJourneyTemplate(ctx, client.JourneyTemplateCreate{
				Hospital: p.hospital, Name: t.Name, NameAr: &t.NameAr,
				JourneyType: client.JourneyType(t.JourneyType), IsDefault: client.Ptr(true),
			})
			if err != nil {
				return client.ID{}, err
			}
			return created.ID, nil
		},
	}
}

// stages are known by their template and their code, which is unique in there.
func (p *player) stages(templates, surveys map[string]client.ID) *collection[stage, client.StageTemplate] {
	stageKey := func(template client.ID, code string) string { return template.String() + " " + code }
	return &collection[stage, client.StageTemplate]{
		noun: "stage templates",
		key:  func(s stage) string { return stageKey(s.template, s.Code) },
		list: func(ctx context.Context) iter.Seq2[client.StageTemplate, error] {
			return func(yield func(client.StageTemplate, error) bool) {
				for _, template := range templates {
					for row, err := range p.api.AllStageTemplates(ctx, &client.ListStageTemplatesParams{JourneyTemplate: &template}) {
						if !yield(row, err) {
							return
						}
					}
				}
			}
		},
		keyOf: func(s client.StageTemplate) (string, client.ID) { return stageKey(s.JourneyTemplate, s.Code), s.ID },
		create: func(ctx context.Context, s stage) (client.ID, error) {
			created, err := p.api.CreateStageTemplate(ctx, client.StageTemplateCreate{
				JourneyTemplate: s.template, Name: s.Name, NameAr: &s.NameAr, Code: s.Code, Order: int32(s.Order),
				TriggerEventCode: s.TriggerEventCode, SurveyTemplate: reference(surveys, s.SurveyTemplate),
				AutoSendSurvey: &s.AutoSendSurvey, SurveyDelayHours: client.Ptr(int32(s.SurveyDelayHours)),
				RequiresPhysician: &s.RequiresPhysician, RequiresDepartment: &s.RequiresDepartment, IsOptional: &s.IsOptional,
			}, client.WithRepeats())
			if err != nil {
				return client.ID{}, err
			}
			return created.ID, nil
		},
	}
}

// journeysOf takes the ids by template name, MRN and department code.
func (p *player) journeysOf(templates, patients, departments map[string]client.ID) *collection[hospitalday.Encounter, client.JourneyInstance] {
	return &collection[hospitalday.Encounter, client.JourneyInstance]{
		noun: "journeys",
		key:  func(e hospitalday.Encounter) string { return e.EncounterID },
		list: func(ctx context.Context) iter.Seq2[client.JourneyInstance, error] {
			return p.api.AllJourneyInstances(ctx, &client.ListJourneyInstancesParams{Hospital: &p.hospital})
		},
		keyOf: func(j client.JourneyInstance) (string, client.ID) { return j.EncounterID, j.ID },
		create: func(ctx context.Context, e hospitalday.Encounter) (client.ID, error) {
			template, _ := p.plan.Template(e.JourneyType)
			created, err := p.api.CreateJourneyInstance(ctx, client.JourneyInstanceCreate{
				JourneyTemplate: templates[template.Name], Hospital: p.hospital, Patient: patients[e.MRN],
				Department: reference(departments, e.DepartmentCode), EncounterID: e.EncounterID, StartedAt: &e.StartedAt,
			}, client.WithRepeats())
			if err != nil {
				return client.ID{}, err
			}
			return created.ID, nil
		},
	}
}

func orStandIn(text string) string {
	if text == "" {
		return standIn
	}
	return text
}

// reference is the id with that key, or null if there is none.
func reference(ids map[string]client.ID, key string) nullable.Nullable[client.ID] {
	if id, ok := ids[key]; ok {
		return client.Value(id)
	}
	return client.Null[client.ID]()
}
