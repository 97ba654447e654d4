package contract

import (
	"encoding/hex"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// ParseUUID parses a UUID in either case, with all its hyphens or none, and in no other form.
func ParseUUID(text string) (uuid.UUID, bool) {
	switch len(text) {
	case 36:
		id, err := uuid.Parse(text)
		return id, err == nil
	case 32:
		var id uuid.UUID
		_, err := hex.Decode(id[:], []byte(text))
		return id, err == nil
	}
	return uuid.Nil, false
}

var datePattern = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`)

func validDate(text string) bool {
	t, err := time.Parse(time.DateOnly, text)
	return err == nil && datePattern.MatchString(text) && t.Year() >= 1
}

// tooFarAhead tells whether a valid date is more than so many years after now.
func tooFarAhead(date string, years int, now time.Time) bool {
	return date > now.UTC().AddDate(years, 0, 0).Format(time.DateOnly)
}

var dateTimePattern = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-]\d{2}:\d{2})$`)

// parseDateTime parses RFC 3339, with or without the seconds, to the microsecond that the database keeps, in UTC. The
// offset is required, though DRF's message shows it as optional: a time without one is a different time for each reader.
func parseDateTime(text string) (time.Time, bool) {
	if !dateTimePattern.MatchString(text) {
		return time.Time{}, false
	}
	const minutes = len("2006-01-02T15:04")
	date, clock, rest := text[:len(time.DateOnly)], text[len(time.DateOnly)+1:minutes], text[minutes:]
	if rest[0] != ':' {
		rest = ":00" + rest
	}
	t, err := time.Parse(time.RFC3339Nano, date+"T"+clock+strings.ToUpper(rest))
	t = t.UTC().Truncate(time.Microsecond)
	return t, err == nil && t.Year() >= 1 && t.Year() <= 9999
}

// What Django takes for an email address: a dot-atom or a quoted string, then a domain name,
// localhost or an address in brackets.
var (
	emailUser   = regexp.MustCompile(`(?i)^([-!#$%&'*+/=?^_` + "`" + `{}|~0-9A-Z]+(\.[-!#$%&'*+/=?^_` + "`" + `{}|~0-9A-Z]+)*|"([\x01-\x08\x0b\x0c\x0e-\x1f!#-\[\]-\x7f]|\\[\x01-\x09\x0b\x0c\x0e-\x7f])*")$`)
	emailDomain = regexp.MustCompile(`(?i)^([A-Z0-9\x{00a1}-\x{ffff}]([A-Z0-9\x{00a1}-\x{ffff}-]{0,61}[A-Z0-9\x{00a1}-\x{ffff}])?\.)+[A-Z0-9\x{00a1}-\x{ffff}-]{1,62}[A-Z0-9\x{00a1}-\x{ffff}]$`)
)

func validEmail(text string) bool {
	at := strings.LastIndexByte(text, '@')
	if at < 0 || len(text) > 320 {
		return false
	}
	user, domain := text[:at], text[at+1:]
	if !emailUser.MatchString(user) {
		return false
	}
	if address, ok := strings.CutPrefix(domain, "["); ok {
		_, err := netip.ParseAddr(strings.TrimSuffix(address, "]"))
		return err == nil && strings.HasSuffix(address, "]")
	}
	return strings.EqualFold(domain, "localhost") || emailDomain.MatchString(domain)
}

var (
	urlHost     = regexp.MustCompile(`(?i)^([a-z0-9\x{00a1}-\x{ffff}]([a-z0-9\x{00a1}-\x{ffff}-]{0,61}[a-z0-9\x{00a1}-\x{ffff}])?\.)+([a-z\x{00a1}-\x{ffff}-]{2,63}|xn--[a-z0-9]{1,59})\.?$`)
	urlSchemes  = []string{"http", "https", "ftp", "ftps"}
	urlNoSpaces = regexp.MustCompile(`^\S+$`)
)

func validURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || len(text) > 2048 || !urlNoSpaces.MatchString(text) || !slices.Contains(urlSchemes, strings.ToLower(u.Scheme)) || u.Opaque != "" {
		return false
	}
	if port := u.Port(); port != "" {
		if number, err := strconv.Atoi(port); err != nil || number < 1 || number > 65535 {
			return false
		}
	}
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return strings.EqualFold(host, "localhost") || len(host) <= 253 && urlHost.MatchString(host)
}
