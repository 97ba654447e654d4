package auth

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

// ownHash matches what Hash writes: the current parameters, 16 bytes of salt, 32 of hash.
var ownHash = regexp.MustCompile(`^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`)

func TestHashAndCheck(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"كلمة السر الطويلة", " spaces ", strings.Repeat("x", MaxPasswordBytes)} {
		encoded, err := HashPassword(password)
		if err != nil {
			t.Fatal(err)
		}
		if !ownHash.MatchString(encoded) {
			t.Errorf("hash %q", encoded)
		}
		if ok, rehash, err := CheckPassword(encoded, password); !ok || rehash || err != nil {
			t.Errorf("%.20q: %v %v %v", password, ok, rehash, err)
		}
		other := "x"
		if len(password) < MaxPasswordBytes {
			other = password + "x"
		}
		if ok, rehash, err := CheckPassword(encoded, other); ok || rehash || err != nil {
			t.Errorf("%.20q: another password: %v %v %v", password, ok, rehash, err)
		}
	}
	one, _ := HashPassword("same")
	two, _ := HashPassword("same")
	if one == two {
		t.Error("two hashes share a salt")
	}
}

// Hashes of the reference implementation, with the current parameters and with others.
func TestCheckOutdatedArgon(t *testing.T) {
	t.Parallel()
	var vectors struct {
		Cases []struct{ Password, Encoded string }
	}
	readTestdata(t, "argon2.json", &vectors)
	if len(vectors.Cases) == 0 {
		t.Fatal("no vectors")
	}
	for _, vector := range vectors.Cases {
		current := ownHash.MatchString(vector.Encoded)
		if ok, rehash, err := CheckPassword(vector.Encoded, vector.Password); !ok || rehash == current || err != nil {
			t.Errorf("%s: %v %v %v", vector.Encoded, ok, rehash, err)
		}
		if ok, rehash, err := CheckPassword(vector.Encoded, vector.Password+"x"); ok || rehash || err != nil {
			t.Errorf("%s: another password: %v %v %v", vector.Encoded, ok, rehash, err)
		}
	}
}

func TestCheckDjangoHashes(t *testing.T) {
	t.Parallel()
	var vectors struct {
		Cases []struct{ Password, Encoded string }
	}
	readTestdata(t, "pbkdf2.json", &vectors)
	if len(vectors.Cases) < 15 {
		t.Fatalf("only %d vectors", len(vectors.Cases))
	}
	for _, vector := range vectors.Cases {
		if ok, rehash, err := CheckPassword(vector.Encoded, vector.Password); !ok || !rehash || err != nil {
			t.Errorf("%s: %v %v %v", vector.Encoded, ok, rehash, err)
		}
		if strings.Contains(vector.Encoded, "$1000000$") {
			continue // a million iterations: only check the correct password
		}
		wrong := "x" + vector.Password[:min(len(vector.Password), 100)]
		if wrong == vector.Password {
			continue
		}
		if ok, rehash, err := CheckPassword(vector.Encoded, wrong); ok || rehash || err != nil {
			t.Errorf("%s: another password: %v %v %v", vector.Encoded, ok, rehash, err)
		}
	}
}

func TestCheckUnusable(t *testing.T) {
	t.Parallel()
	for _, encoded := range []string{"", "!QMsGvdFBrGSIGRXdfjhfhfX"} {
		for _, password := range []string{encoded, "SecurePass123!"} {
			if ok, rehash, err := CheckPassword(encoded, password); ok || rehash || err != nil {
				t.Errorf("%q, %q: %v %v %v", encoded, password, ok, rehash, err)
			}
		}
	}
}

// Timing is not measured, which would be flaky. The test asserts instead that every unusable hash
// is replaced by one of the same cost.
func TestUnusableHashesCostTheSame(t *testing.T) {
	t.Parallel()
	for _, encoded := range []string{"", "!x", "gibberish", "$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$c3Vtc3Vtc3Vtc3Vtc3U"} {
		hash, usable, _ := parseStored(encoded)
		dummy, isArgon := hash.(argonHash)
		if usable || !isArgon || dummy.outdated() {
			t.Errorf("%q: usable %v, hash %+v", encoded, usable, hash)
		}
	}
}

func TestCheckMalformed(t *testing.T) {
	t.Parallel()
	const (
		salt = "c2FsdHNhbHRzYWx0c2FsdA"
		sum  = "c3Vtc3Vtc3Vtc3Vtc3Vtc3Vtc3Vtc3Vtc3Vtc3Vtc3U"
		good = "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + sum
	)
	if _, ok := parseArgon(good); !ok {
		t.Fatal("the valid hash that the malformed ones vary does not parse")
	}
	pbkdf2Sum := "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	if _, ok := parsePBKDF2("pbkdf2_sha256$1$salt$" + pbkdf2Sum); !ok {
		t.Fatal("the valid hash that the malformed ones vary does not parse")
	}
	for _, encoded := range []string{
		"x", "$", "$$$", "$$$$$", "plaintext", " " + good, good + "$", good + "\n",
		"$argon2i$v=19$m=64,t=1,p=1$" + salt + "$" + sum,
		"$argon2d$v=19$m=64,t=1,p=1$" + salt + "$" + sum,
		"$argon2id$v=16$m=64,t=1,p=1$" + salt + "$" + sum,
		"$argon2id$m=64,t=1,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$t=1,m=64,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=64,t=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=064,t=1,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=+64,t=1,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=4194304,t=1,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=65537,t=1,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=64,t=1000000,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=64,t=1,p=255$" + salt + "$" + sum,
		"$argon2id$v=19$m=7,t=1,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=64,t=0,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=64,t=1,p=0$" + salt + "$" + sum,
		"$argon2id$v=19$m=99999999999999999999,t=1,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=64,t=1,p=1$$" + sum,
		"$argon2id$v=19$m=64,t=1,p=1$" + salt + "$",
		"$argon2id$v=19$m=64,t=1,p=1$" + salt + "==$" + sum,
		"$argon2id$v=19$m=64,t=1,p=1$" + salt[:21] + "B$" + sum, // non-zero padding bits
		"$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + strings.Repeat("A", 2000),
		"argon2$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + sum,
		"pbkdf2_sha1$1$salt$" + pbkdf2Sum,
		"pbkdf2_sha256$0$salt$" + pbkdf2Sum,
		"pbkdf2_sha256$-1$salt$" + pbkdf2Sum,
		"pbkdf2_sha256$1_000$salt$" + pbkdf2Sum,
		"pbkdf2_sha256$4000000000$salt$" + pbkdf2Sum,
		"pbkdf2_sha256$1$$" + pbkdf2Sum,
		"pbkdf2_sha256$1$salt$",
		"pbkdf2_sha256$1$salt$" + pbkdf2Sum[:40],
		"pbkdf2_sha256$1$salt$" + pbkdf2Sum + "$",
		"pbkdf2_sha256$1$" + strings.Repeat("s", 257) + "$" + pbkdf2Sum,
		strings.Repeat("$", 1<<20),
	} {
		if _, usable, err := parseStored(encoded); usable || !errors.Is(err, ErrMalformedHash) {
			t.Errorf("%.100q: usable %v, error %v", encoded, usable, err)
		}
	}
	if ok, rehash, err := CheckPassword("gibberish", "x"); ok || rehash || !errors.Is(err, ErrMalformedHash) {
		t.Errorf("Check: %v %v %v", ok, rehash, err)
	}
}

func TestPasswordTooLong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", MaxPasswordBytes+1)
	if _, err := HashPassword(long); !errors.Is(err, ErrTooLong) {
		t.Errorf("Hash: %v", err)
	}
	if _, _, err := CheckPassword("", long); !errors.Is(err, ErrTooLong) {
		t.Errorf("Check: %v", err)
	}
}

func FuzzParseStored(f *testing.F) {
	for _, name := range []string{"pbkdf2.json", "argon2.json"} {
		var vectors struct {
			Cases []struct{ Password, Encoded string }
		}
		readTestdata(f, name, &vectors)
		for _, vector := range vectors.Cases {
			f.Add(vector.Encoded)
		}
	}
	f.Add("")
	f.Add("!unusable")
	f.Add("$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$c3Vtc3Vtc3Vtc3Vtc3U")
	f.Fuzz(func(t *testing.T, encoded string) {
		hash, usable, err := parseStored(encoded)
		if usable && err != nil {
			t.Fatalf("%q: usable, and %v", encoded, err)
		}
		switch hash := hash.(type) {
		case argonHash:
			if hash.memoryKiB > maxArgonMemoryKiB || hash.passes < 1 || hash.passes > maxArgonPasses ||
				hash.lanes < 1 || hash.lanes > maxArgonLanes || len(hash.sum) < minSumBytes {
				t.Fatalf("%q: %+v", encoded, hash.argonParams)
			}
			if usable && hash.encode() != encoded {
				t.Fatalf("%q is written %q", encoded, hash.encode())
			}
		case pbkdf2Hash:
			if hash.iterations < 1 || hash.iterations > maxPBKDF2Iterations || len(hash.sum) != 32 || hash.encode() != encoded {
				t.Fatalf("%q: %+v", encoded, hash)
			}
		default:
			t.Fatalf("%q: no hash", encoded)
		}
	})
}
