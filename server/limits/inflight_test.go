package limits

import "testing"

func TestInFlight(t *testing.T) {
	t.Parallel()
	f := NewInFlight(8)
	var release func()
	for i := range 6 {
		var ok bool
		if release, ok = f.Enter(false); !ok {
			t.Fatalf("request %d was refused", i+1)
		}
	}
	admitted := func(event bool) bool { _, ok := f.Enter(event); return ok }
	if admitted(false) {
		t.Error("a request took a slot that is reserved for events")
	}
	for range 2 {
		if !admitted(true) {
			t.Fatal("an event was refused a reserved slot")
		}
	}
	refused, ok := f.Enter(true)
	if ok {
		t.Error("an event was admitted above the limit")
	}
	refused() // the release of a refused request does nothing
	if admitted(true) {
		t.Error("an event was admitted above the limit")
	}
	release()
	if !admitted(true) || admitted(false) {
		t.Error("a released slot admits exactly one event")
	}
}

// A refused request releases the slot that it took tentatively, also when events hold the unreserved
// slots.
func TestInFlightFullOfEvents(t *testing.T) {
	t.Parallel()
	f := NewInFlight(4)
	var release []func()
	for range 4 {
		l, ok := f.Enter(true)
		if !ok {
			t.Fatal("an event was refused while slots were free")
		}
		release = append(release, l)
	}
	for range 8 {
		if _, ok := f.Enter(false); ok {
			t.Fatal("a request was admitted above the limit")
		}
	}
	for _, l := range release {
		l()
	}
	for i := range 3 {
		if _, ok := f.Enter(false); !ok {
			t.Errorf("request %d was refused by an idle server", i+1)
		}
	}
}

// With a limit of one, every kind of request is admitted.
func TestInFlightOne(t *testing.T) {
	t.Parallel()
	f := NewInFlight(1)
	for _, event := range []bool{false, true} {
		release, ok := f.Enter(event)
		if !ok {
			t.Fatalf("event %v: refused by an idle server", event)
		}
		releaseCaller, ok := f.EnterAs("a")
		if !ok {
			t.Fatalf("event %v: its caller was refused", event)
		}
		releaseCaller()
		release()
	}
}

// One caller can hold half of the slots at most, for example with slow request bodies.
func TestInFlightByCaller(t *testing.T) {
	t.Parallel()
	f := NewInFlight(8)
	var releases []func()
	for range 4 {
		release, ok := f.EnterAs("a")
		if !ok {
			t.Fatal("a caller was refused below half of the slots")
		}
		releases = append(releases, release)
	}
	refused, ok := f.EnterAs("a")
	if ok {
		t.Error("a caller got more than half of the slots")
	}
	other, ok := f.EnterAs("b")
	if !ok {
		t.Error("another caller was refused")
	}
	refused() // the release of a refused request does nothing
	if _, ok := f.EnterAs("a"); ok {
		t.Error("a caller got more than half of the slots")
	}
	for _, release := range append(releases, other) {
		release()
	}
	if len(f.callers) != 0 {
		t.Errorf("%v are still counted", f.callers)
	}
}
