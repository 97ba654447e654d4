// Package surveypage renders the pages on which patients answer: HTML that needs neither scripts nor cookies, in English
// and Arabic. It knows no database and no request.
package surveypage

import (
	"bytes"
	_ "embed"
	"html/template"

	"github.com/px360/px360/queries/rules"
)

// Policy is what the pages may load and do: their style sheet and their forms, from where they are, and nothing else.
const Policy = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// Style is the style sheet of all pages.
//
//go:embed style.css
var Style []byte

//go:embed page.html
var source string

var pages = template.Must(template.New("").Parse(source))

// The kinds of pages.
const (
	KindSurvey   = "survey"
	KindThanks   = "thanks"
	KindOptOut   = "optout"   // asks for confirmation
	KindOptedOut = "optedout" // confirms
	KindNotFound = "notfound"
	KindTooMany  = "toomany"
	KindTrouble  = "trouble" // anything else that went wrong
)

// A Page is what one page shows. Addresses are where its links and forms lead; blank for none.
type Page struct {
	Kind     string
	Language string // en or ar
	Hospital string
	Base     string // below which all pages are, with a slash at its end
	Other    string // the same page in the other language
	OptOut   string
	Action   string // of the form
	Back     string // from opting out to the survey
	Again    *Page  // the same in the other language, for readers whose language is not known

	// Of a survey.
	Section     string
	Page, Pages int
	Questions   []Question
	Errors      bool
}

// A Question as it is shown.
type Question struct {
	ID       string
	Text     string
	Required bool
	Error    string
	Input    string // radio or checkbox
	Layout   string // scale or list
	Choices  []Choice
	Low      string // what the ends of a scale mean
	High     string
	Words    string // of a question that is answered in words
	Rows     int
	Most     int // characters
}

// A Choice of a question.
type Choice struct {
	Value, Label string
	Chosen       bool
}

// Direction is how the page's language is written.
func (p Page) Direction() string {
	if p.Language == rules.Arabic {
		return "rtl"
	}
	return "ltr"
}

// Title is the heading of the page.
func (p Page) Title() string { return p.Say("title_" + p.Kind) }

// Say is a text of the page in its language.
func (p Page) Say(name string) string { return Text(p.Language, name) }

// OtherLanguage is the language that the reader can change to.
func (p Page) OtherLanguage() string {
	if p.Language == rules.Arabic {
		return rules.English
	}
	return rules.Arabic
}

// OtherName is what that language calls itself.
func (p Page) OtherName() string { return Text(p.OtherLanguage(), "name") }

// Render writes the page.
func (p Page) Render() ([]byte, error) {
	var text bytes.Buffer
	err := pages.ExecuteTemplate(&text, "page", p)
	return text.Bytes(), err
}

// Text is a text in a language.
func Text(language, name string) string {
	both := texts[name]
	if language == rules.Arabic {
		return both[1]
	}
	return both[0]
}

// texts are all texts of the pages, in English and Arabic.
var texts = map[string][2]string{
	"name":           {"English", "العربية"},
	"error":          {"Error", "خطأ"},
	"title_survey":   {"How was your visit?", "كيف كانت زيارتك؟"},
	"title_thanks":   {"Thank you", "شكرًا لك"},
	"thanks":         {"Your answers have been received. Thank you for your time.", "تم استلام إجاباتك. شكرًا على وقتك."},
	"title_optout":   {"No more messages?", "إيقاف الرسائل؟"},
	"optout":         {"If you confirm, this hospital will send you no more surveys.", "عند التأكيد، لن يرسل لك هذا المستشفى أي استبيانات أخرى."},
	"optout_button":  {"Send me no more surveys", "لا ترسلوا لي استبيانات"},
	"optout_link":    {"Send me no more surveys", "لا أرغب في تلقي الاستبيانات"},
	"keep":           {"Back to the survey", "العودة إلى الاستبيان"},
	"title_optedout": {"You are unsubscribed", "تم إلغاء اشتراكك"},
	"optedout":       {"This hospital will send you no more surveys.", "لن يرسل لك هذا المستشفى أي استبيانات أخرى."},
	"title_notfound": {"This page is not available", "هذه الصفحة غير متوفرة"},
	"notfound":       {"The link is incomplete, or the survey has ended.", "هذا الرابط غير مكتمل، أو انتهى الاستبيان."},
	"title_toomany":  {"Please try again later", "يرجى المحاولة لاحقًا"},
	"toomany":        {"There were too many attempts from your network.", "محاولات كثيرة من شبكتك."},
	"title_trouble":  {"Something went wrong", "حدث خطأ"},
	"trouble":        {"Please try again in a moment. What you have sent before is not lost.", "يرجى المحاولة بعد قليل. ما أرسلته من قبل محفوظ."},
	"page":           {"Page", "صفحة"},
	"errors":         {"Please look at these questions again:", "يرجى مراجعة هذه الأسئلة:"},
	"required":       {"(required)", "(مطلوب)"},
	"next":           {"Next", "التالي"},
	"back":           {"Back", "السابق"},
	"finish":         {"Send", "إرسال"},
	"yes":            {"Yes", "نعم"},
	"no":             {"No", "لا"},
	"missing":        {"Please answer this question.", "يرجى الإجابة عن هذا السؤال."},
	"invalid":        {"Please choose again.", "يرجى الاختيار مرة أخرى."},
	"rating_low":     {"Very poor", "سيئ جدًا"},
	"rating_high":    {"Excellent", "ممتاز"},
	"likert_low":     {"Strongly disagree", "لا أوافق بشدة"},
	"likert_high":    {"Strongly agree", "أوافق بشدة"},
	"nps_low":        {"Not at all likely", "غير محتمل إطلاقًا"},
	"nps_high":       {"Extremely likely", "محتمل جدًا"},
}
