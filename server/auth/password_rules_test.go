package auth

import (
	"slices"
	"testing"
)

func TestValidateMatchesDjango(t *testing.T) {
	t.Parallel()
	var vectors struct {
		Cases []struct {
			Password  string
			Username  string
			FirstName string `json:"first_name"`
			LastName  string `json:"last_name"`
			Email     string
			Messages  []string
		}
	}
	readTestdata(t, "password_rules.json", &vectors)
	if len(vectors.Cases) < 60 {
		t.Fatalf("only %d vectors", len(vectors.Cases))
	}
	for _, vector := range vectors.Cases {
		attributes := Attributes{
			Username: vector.Username, FirstName: vector.FirstName, LastName: vector.LastName, Email: vector.Email,
		}
		if got := Validate(vector.Password, attributes); !slices.Equal(got, vector.Messages) {
			t.Errorf("%q, %+v:\n got  %q\n want %q", vector.Password, attributes, got, vector.Messages)
		}
	}
}

func TestValidateReportsAllMessages(t *testing.T) {
	t.Parallel()
	got := Validate("12345", Attributes{Username: "12345", Email: "12345@hospital.sa"})
	want := []string{
		"The password is too similar to the username.",
		"This password is too short. It must contain at least 8 characters.",
		"This password is too common.",
		"This password is entirely numeric.",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestCommonPasswordList(t *testing.T) {
	t.Parallel()
	set, err := readPasswordList(commonPasswordsGzip)
	if err != nil {
		t.Fatal(err)
	}
	if len(set) < 19_000 || len(set) > 20_000 {
		t.Errorf("%d passwords", len(set))
	}
	if _, err := readPasswordList(commonPasswordsGzip[:1000]); err == nil {
		t.Error("a truncated list: no error")
	}
	if _, err := readPasswordList([]byte("no gzip")); err == nil {
		t.Error("no list: no error")
	}
}

func TestSplitWords(t *testing.T) {
	t.Parallel()
	for value, want := range map[string][]string{
		"":                  {""},
		"a":                 {"a"},
		"-":                 {"", ""},
		"a-":                {"a", ""},
		"-a":                {"", "a"},
		"a.b@c.sa":          {"a", "b", "c", "sa"},
		"a--b":              {"a", "b"},
		"snake_case":        {"snake_case"},
		"الحَربي":           {"الح", "ربي"}, // a vowel sign is not a letter
		"x² y":              {"x²", "y"},
		"al-harbi السعودية": {"al", "harbi", "السعودية"},
	} {
		if got := splitWords(value); !slices.Equal(got, want) {
			t.Errorf("%q: %q", value, got)
		}
	}
}

func FuzzValidate(f *testing.F) {
	f.Add("password", "user", "a@b.c")
	f.Add("\xff\xfe", "\xff", "")
	f.Fuzz(func(t *testing.T, password, username, email string) {
		for _, message := range Validate(password, Attributes{Username: username, Email: email}) {
			if message == "" {
				t.Fatal("an empty message")
			}
		}
	})
}
