package postgres

import "testing"

// How a staging table is emptied goes by what it holds, not by what others do, and
// what was deleted one by one is not left in it for ever.
func TestFill(t *testing.T) {
	t.Parallel()
	x := &table{}
	for i, step := range []struct {
		name string
		rows int
		few  bool
	}{
		{"a", fewRows, false}, // nobody knows it
		{"b", fewRows + 1, false},
		{"a", 1, true},
		{"b", 1, false},
		{"b", 0, true},
		{"b", fewRows, true},
	} {
		if few := x.fill(step.name, step.rows); few != step.few {
			t.Errorf("step %d: few is %t", i, few)
		}
	}
	if is := x.loads["b"]; is != (load{rows: fewRows, dead: 1}) {
		t.Errorf("%+v", is)
	}
	for x.loads["b"].dead+fewRows <= keptDead {
		if !x.fill("b", fewRows) {
			t.Fatalf("all goes at once, with %+v", x.loads["b"])
		}
	}
	if x.fill("b", fewRows) || x.loads["b"].dead != 0 {
		t.Errorf("what is dead stays: %+v", x.loads["b"])
	}
}
