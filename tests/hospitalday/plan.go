package hospitalday

// Plan is the configuration of a hospital that the day's events need.
type Plan struct {
	Hospital  Hospital
	Surveys   []SurveyTemplate
	Templates []Template // one for each journey type
}

// Hospital is the hospital of the day.
type Hospital struct {
	Name, NameAr, Code string
}

// SurveyTemplate is a survey that stages send. Stages refer to it by Name.
type SurveyTemplate struct {
	Name, NameAr string
	Questions    []Question
}

// Question is a question of a survey.
type Question struct {
	Text, TextAr string
	Type         string // QuestionType of the contract
	Required     bool
	ActionOn     []string // answers that call for an action
}

// Template is a journey template.
type Template struct {
	Name, NameAr string
	JourneyType  string // ems, inpatient, opd
	Stages       []Stage
}

// Stage is a stage template.
type Stage struct {
	Name, NameAr       string
	Code               string // unique in its template
	Order              int    // ties by Code
	TriggerEventCode   string
	SurveyTemplate     string // a SurveyTemplate's name, or blank
	AutoSendSurvey     bool
	SurveyDelayHours   int
	RequiresPhysician  bool
	RequiresDepartment bool
	IsOptional         bool
}

// Template returns the plan's template for a journey type, if it has one.
func (p Plan) Template(journeyType string) (Template, bool) {
	for _, template := range p.Templates {
		if template.JourneyType == journeyType {
			return template, true
		}
	}
	return Template{}, false
}

// The names of the two surveys.
const (
	outpatientSurvey = "Outpatient Experience Survey"
	inpatientSurvey  = "Inpatient Discharge Survey"
)

// DemoPlan returns a copy of the demo's plan.
//
// Every visit has an opening and a discharge, so these stages are required; the others vary between patients (a third
// of the outpatient visits need neither laboratory nor radiology), so they are optional. Five in six outpatient visits
// complete within the day. Inpatient stays that began before the day never get an admission event, so their journeys
// stay active until somebody skips that stage.
func DemoPlan() Plan {
	return Plan{
		Hospital: Hospital{
			Name:   "PX360 Demo Hospital",
			NameAr: "مستشفى بي إكس 360 التجريبي",
			Code:   "DEMO",
		},
		Surveys: []SurveyTemplate{
			{Name: outpatientSurvey, NameAr: "استبيان تجربة العيادات الخارجية", Questions: questions()},
			{Name: inpatientSurvey, NameAr: "استبيان الخروج من التنويم", Questions: questions()},
		},
		Templates: []Template{
			{Name: "Emergency Journey", NameAr: "رحلة الطوارئ", JourneyType: "ems", Stages: emergencyStages()},
			{Name: "Inpatient Journey", NameAr: "رحلة التنويم", JourneyType: "inpatient", Stages: inpatientStages()},
			{Name: "Outpatient Journey", NameAr: "رحلة العيادات الخارجية", JourneyType: "opd", Stages: outpatientStages()},
		},
	}
}

func questions() []Question {
	return []Question{
		{Text: "How was the care that you received?", TextAr: "كيف كانت الرعاية التي تلقيتها؟", Type: "rating", Required: true},
		{Text: "The staff listened to me.", TextAr: "استمع الطاقم إليّ.", Type: "likert", Required: true},
		{Text: "Would you recommend us to friends and family?", TextAr: "هل توصي بنا لأصدقائك وعائلتك؟", Type: "nps"},
		{Text: "May we call you about it?", TextAr: "هل يمكننا الاتصال بك بهذا الشأن؟", Type: "yes_no", ActionOn: []string{"yes"}},
		{Text: "What can we do better?", TextAr: "ماذا يمكننا أن نحسن؟", Type: "textarea"},
	}
}

func emergencyStages() []Stage {
	return []Stage{
		{
			Name: "Arrival", NameAr: "الوصول", Code: "EMS_ARRIVAL", Order: 1,
			TriggerEventCode: "ADT_A04", RequiresPhysician: true,
		},
		{
			Name: "Laboratory", NameAr: "المختبر", Code: "EMS_LAB", Order: 2,
			TriggerEventCode: "LAB_ORDER_COMPLETED", IsOptional: true,
		},
		{
			Name: "Radiology", NameAr: "الأشعة", Code: "EMS_RAD", Order: 3,
			TriggerEventCode: "RAD_ORDER_COMPLETED", IsOptional: true,
		},
		{
			Name: "Clinical Note", NameAr: "الملاحظة السريرية", Code: "EMS_NOTE", Order: 4,
			TriggerEventCode: "CLINICAL_NOTE_FILED", IsOptional: true,
		},
		{
			Name: "Departure", NameAr: "المغادرة", Code: "EMS_DEPARTURE", Order: 5,
			TriggerEventCode: "ADT_A03",
		},
	}
}

// inpatientStages require a department for admission and discharge: a few of the day's messages name none, so the
// demo has failed events.
func inpatientStages() []Stage {
	return []Stage{
		{
			Name: "Admission", NameAr: "الدخول", Code: "IP_ADMISSION", Order: 1,
			TriggerEventCode: "ADT_A01", RequiresPhysician: true, RequiresDepartment: true,
		},
		{
			Name: "Vital Signs", NameAr: "العلامات الحيوية", Code: "IP_VITALS", Order: 2,
			TriggerEventCode: "VITAL_SIGNS_RECORDED", IsOptional: true,
		},
		{
			Name: "Laboratory", NameAr: "المختبر", Code: "IP_LAB", Order: 3,
			TriggerEventCode: "LAB_ORDER_COMPLETED", IsOptional: true,
		},
		{
			Name: "Radiology", NameAr: "الأشعة", Code: "IP_RAD", Order: 4,
			TriggerEventCode: "RAD_ORDER_COMPLETED", IsOptional: true,
		},
		{
			Name: "Discharge", NameAr: "الخروج", Code: "IP_DISCHARGE", Order: 5,
			TriggerEventCode: "ADT_A03", RequiresPhysician: true, RequiresDepartment: true,
			SurveyTemplate: inpatientSurvey, AutoSendSurvey: true, SurveyDelayHours: 24,
		},
	}
}

func outpatientStages() []Stage {
	return []Stage{
		{
			Name: "Registration", NameAr: "التسجيل", Code: "OPD_REGISTRATION", Order: 1,
			TriggerEventCode: "ADT_A04", RequiresPhysician: true,
		},
		{
			Name: "Laboratory", NameAr: "المختبر", Code: "OPD_LAB", Order: 2,
			TriggerEventCode: "LAB_ORDER_COMPLETED", IsOptional: true,
		},
		{
			Name: "Radiology", NameAr: "الأشعة", Code: "OPD_RAD", Order: 3,
			TriggerEventCode: "RAD_ORDER_COMPLETED", IsOptional: true,
		},
		{
			Name: "End of Visit", NameAr: "نهاية الزيارة", Code: "OPD_END", Order: 4,
			TriggerEventCode: "ADT_A03",
			SurveyTemplate:   outpatientSurvey, AutoSendSurvey: true, SurveyDelayHours: 2,
		},
	}
}
