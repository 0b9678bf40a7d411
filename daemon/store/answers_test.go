package store

import (
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

func TestAnswersSurviveInTheirOrder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"b", "a", "gone"} {
		if err := tx.PutAnswer(&stream.Answered{ID: id, At: at.Add(time.Duration(i) * time.Second), Answer: []byte(`{"ok":true}`)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.DropAnswer("gone"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := open(t, dir).Load(t.Context())
	if err != nil || len(l.Answers) != 2 || l.Answers[0].ID != "b" || l.Answers[1].ID != "a" || string(l.Answers[1].Answer) != `{"ok":true}` {
		t.Fatalf("%+v %v", l.Answers, err)
	}
}
