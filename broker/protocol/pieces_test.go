package protocol

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// What is larger than the limit comes together again, however its pieces are
// repeated, lost and sent once more, in whatever order, among others.
func TestPieces(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		most := 20 + r.IntN(200)
		wholes := [][]byte{noise(most+1+r.IntN(3000), uint64(n)), noise(most+1+r.IntN(3000), uint64(n)+1000)}
		var sent [][]byte
		for _, w := range wholes {
			pieces := Cut(w, most)
			for _, p := range pieces {
				if len(p) > most {
					t.Fatalf("a piece has %d bytes, the limit is %d", len(p), most)
				}
			}
			sent = append(sent, pieces...)
		}
		var j Joiner
		came := map[int]int{}
		take := func(b []byte) {
			switch whole := j.Add(b); {
			case whole == nil:
			case bytes.Equal(whole, wholes[0]):
				came[0]++
			case bytes.Equal(whole, wholes[1]):
				came[1]++
			default:
				t.Fatal("something else came together")
			}
		}
		for try := 0; came[0] == 0 || came[1] == 0; try++ {
			if try == 50 {
				t.Fatal("they never come together")
			}
			r.Shuffle(len(sent), func(a, b int) { sent[a], sent[b] = sent[b], sent[a] })
			for _, b := range sent {
				if r.IntN(4) > 0 {
					take(b)
				}
				if r.IntN(6) == 0 {
					take(b)
				}
			}
		}
	}
	small := []byte("as it is")
	if got := Cut(small, 8); len(got) != 1 || !bytes.Equal(got[0], small) {
		t.Errorf("what fits was cut: %q", got)
	}
	var j Joiner
	if got := j.Add(small); !bytes.Equal(got, small) || !j.Empty() {
		t.Errorf("what is no piece became %q", got)
	}
	if Cut(small, 3) != nil || Cut(noise(heldBytes+1, 1), 1<<20) != nil {
		t.Error("what cannot be cut was")
	}
}

// What never comes together is bounded, and lies are found out.
func TestPiecesBounded(t *testing.T) {
	t.Parallel()
	var j Joiner
	for n := range 200 {
		j.Add(Cut(noise(200, uint64(n)), 150)[0])
	}
	if len(j.parts) > heldWholes {
		t.Errorf("%d messages are kept", len(j.parts))
	}
	for n := range 20 {
		j.Add(Cut(noise(3<<20, uint64(n)), 2<<20)[0])
	}
	if j.held > heldBytes {
		t.Errorf("%d bytes are kept", j.held)
	}
	pieces := Cut(noise(300, 7), 200)
	pieces[1][len(pieces[1])-1] ^= 1
	if j.Add(pieces[0]) != nil || j.Add(pieces[1]) != nil {
		t.Error("pieces that do not make the whole were believed")
	}
}

func FuzzJoiner(f *testing.F) {
	for _, p := range Cut(noise(300, 7), 200) {
		f.Add(p)
	}
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var j Joiner
		for range 3 {
			if whole := j.Add(b); whole != nil && !bytes.Equal(whole, b) {
				t.Errorf("one piece became %d bytes", len(whole))
			}
		}
	})
}
