package rules

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"
)

// The languages that patients are written to in.
const (
	English = "en"
	Arabic  = "ar"
)

// In is a text in a language; the English one where there is none in Arabic.
func In(language, text, arabic string) string {
	if language == Arabic && arabic != "" {
		return arabic
	}
	return text
}

// What stands in a text for what each message has of its own.
const (
	linkPlaceholder     = "{link}"
	hospitalPlaceholder = "{hospital}"
)

// MaxSMSSegments is how many segments a text message may have.
const MaxSMSSegments = 2

// SMSText is a text message: that of a template or, if it is blank, the program's own. It names the hospital, in front
// if not elsewhere, and neither department nor physician, which could tell others why the patient was there.
func SMSText(language, text, hospital, link string) string {
	if text == "" {
		text = "{hospital}: how was your visit? Please tell us: {link}"
		if language == Arabic {
			text = "{hospital}: كيف كانت زيارتك؟ نرجو أن تخبرنا: {link}"
		}
	}
	if !strings.Contains(text, hospitalPlaceholder) {
		text = hospitalPlaceholder + ": " + text
	}
	return strings.NewReplacer(hospitalPlaceholder, hospital, linkPlaceholder, link).Replace(text)
}

// EmailSubject is the subject of an email: that of a template or the program's own.
func EmailSubject(language, subject, hospital string) string {
	own := "{hospital}: how was your visit?"
	if language == Arabic {
		own = "{hospital}: كيف كانت زيارتك؟"
	}
	return strings.ReplaceAll(cmp.Or(subject, own), hospitalPlaceholder, hospital)
}

// EmailText is the text of an email.
func EmailText(language, hospital, link string) string {
	text := "Dear patient,\n\nthank you for your visit to {hospital}. Please tell us how it was, it takes a minute:\n\n{link}\n\n" +
		"If you want no more of these messages, say so on the same page.\n\n{hospital}\n"
	if language == Arabic {
		text = "عزيزنا المراجع،\n\nشكرًا لزيارتك {hospital}. نرجو أن تخبرنا كيف كانت، لن يستغرق ذلك سوى دقيقة:\n\n{link}\n\n" +
			"إذا كنت لا ترغب في تلقي هذه الرسائل، يمكنك إيقافها من الصفحة نفسها.\n\n{hospital}\n"
	}
	return strings.NewReplacer(hospitalPlaceholder, hospital, linkPlaceholder, link).Replace(text)
}

// CheckSMSText returns what is wrong with the text message of a template: a message, or nothing. A link is as long as
// this one.
func CheckSMSText(language, text, hospital, link string) string {
	switch {
	case text == "":
		return ""
	case !strings.Contains(text, linkPlaceholder):
		return "The text needs {link}, where the link goes."
	case SMSSegments(SMSText(language, text, hospital, link)) > MaxSMSSegments:
		return "Too long for two SMS segments."
	}
	return ""
}

// The alphabet of GSM 03.38. A character of the extension takes two places.
const (
	gsmAlphabet = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	gsmExtended = "\f^{}\\[~]|€"
)

// SMSSegments is how many segments a text message takes: of 160 characters of the GSM alphabet, or 153 each where there
// are several; of 70 and 67 units of UTF-16 if there is any other character, as in every Arabic text (3GPP TS 23.038).
func SMSSegments(text string) int {
	length, one, each := 0, 160, 153
	for _, char := range text {
		switch {
		case strings.ContainsRune(gsmAlphabet, char):
			length++
		case strings.ContainsRune(gsmExtended, char):
			length += 2
		default:
			length, one, each = len(utf16.Encode([]rune(text))), 70, 67
		}
		if each == 67 {
			break
		}
	}
	if length <= one {
		return 1
	}
	return (length + each - 1) / each
}

// ActionFacts are what an email about an action says.
type ActionFacts struct {
	Title, Hospital string
	DueAt           time.Time
	Zone            string // of the hospital, in which the time is written
	URL             string
}

// ActionEmail is an email to a user about a deadline: that it comes near, or that an action was escalated to them.
func ActionEmail(language string, level int, f ActionFacts) (subject, text string) {
	due := f.DueAt.UTC()
	if zone, err := time.LoadLocation(f.Zone); err == nil {
		due = f.DueAt.In(zone)
	}
	when := due.Format("2006-01-02 15:04")
	if f.DueAt.IsZero() { // its clock stands
		when = "–"
	}
	switch {
	case language == Arabic && level == 0:
		return "تذكير: " + f.Title, fmt.Sprintf("يحين موعد هذا الإجراء في %s (%s):\n\n%s\n%s\n\n%s\n", when, f.Zone, f.Title, f.URL, f.Hospital)
	case language == Arabic:
		return fmt.Sprintf("تصعيد إلى المستوى %d: %s", level, f.Title),
			fmt.Sprintf("تم تصعيد هذا الإجراء إليك. كان موعده %s (%s):\n\n%s\n%s\n\n%s\n", when, f.Zone, f.Title, f.URL, f.Hospital)
	case level == 0:
		return "Reminder: " + f.Title, fmt.Sprintf("This action is due on %s (%s):\n\n%s\n%s\n\n%s\n", when, f.Zone, f.Title, f.URL, f.Hospital)
	}
	return fmt.Sprintf("Escalated to level %d: %s", level, f.Title),
		fmt.Sprintf("This action was escalated to you. Its deadline is %s (%s):\n\n%s\n%s\n\n%s\n", when, f.Zone, f.Title, f.URL, f.Hospital)
}

// WebhookDisabledEmail is an email to a user about an endpoint that gets no more messages.
func WebhookDisabledEmail(language, endpoint, why string) (subject, text string) {
	if language == Arabic {
		return "تم إيقاف نقطة استقبال إشعارات", fmt.Sprintf("لم تعد الإشعارات تُرسل إلى:\n\n%s\n\nالسبب: %s\n", endpoint, why)
	}
	return "A webhook endpoint was disabled", fmt.Sprintf("No more messages are sent to\n\n%s\n\n%s\n\nOnce it works again, set its status to active, and replay what it missed.\n", endpoint, why)
}
