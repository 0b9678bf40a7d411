package stream

import "testing"

func TestHistoryChoices(t *testing.T) {
	t.Parallel()
	of := func(names ...string) *HistoryChoice { return &HistoryChoice{Of: names, Properties: []string{"*"}} }
	excluding := of("a")
	excluding.Exclude = []string{"b"}
	fewer := of("a")
	fewer.Properties = []string{"a"}
	for name, c := range map[string]struct {
		choice, other *HistoryChoice
		within        bool
	}{
		"nothing":        {nil, nil, true},
		"none":           {nil, of("a"), true},
		"the first":      {of("a"), nil, false},
		"the same":       {of("a", "b"), of("a", "b"), true},
		"less":           {of("b"), of("a", "b"), true},
		"more":           {of("a", "b"), of("b"), false},
		"of all":         {of("a*"), of("*"), true},
		"less excluded":  {of("a"), excluding, false},
		"more excluded":  {excluding, of("a"), true},
		"of fewer":       {fewer, of("a"), true},
		"of more copied": {of("a"), fewer, false},
	} {
		if got := c.choice.Within(c.other); got != c.within {
			t.Errorf("%s: %v", name, got)
		}
		if !c.choice.Equal(c.choice) || c.choice.Equal(c.other) != c.other.Equal(c.choice) {
			t.Errorf("%s: not equal to itself, or one way only", name)
		}
	}
}
