package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size int64

// String writes it in the largest binary unit that leaves no rest: "1MiB".
func (s Size) String() string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	n, u := int64(s), 0
	for n != 0 && n%1024 == 0 && u < len(units)-1 {
		n, u = n/1024, u+1
	}
	return strconv.FormatInt(n, 10) + units[u]
}

// ParseSize reads a number of bytes: "1MiB", "512 KiB", "2MB", "4096".
func ParseSize(text string) (Size, error) {
	s := strings.TrimSpace(text)
	digits := strings.TrimLeft(s, "0123456789")
	n, err := strconv.ParseInt(s[:len(s)-len(digits)], 10, 64)
	if err != nil {
		return 0, fmt.Errorf(`size %q is not a size; write it like "1MiB"`, text)
	}
	var unit int64
	switch strings.ToLower(strings.TrimSpace(digits)) {
	case "", "b":
		unit = 1
	case "k", "kb":
		unit = 1000
	case "m", "mb":
		unit = 1000 * 1000
	case "g", "gb":
		unit = 1000 * 1000 * 1000
	case "kib":
		unit = 1 << 10
	case "mib":
		unit = 1 << 20
	case "gib":
		unit = 1 << 30
	default:
		return 0, fmt.Errorf("size %q has an unknown unit; there are B, KiB, MiB, GiB, KB, MB and GB", text)
	}
	if n > math.MaxInt64/unit {
		return 0, fmt.Errorf("size %q is too large", text)
	}
	return Size(n * unit), nil
}

// ParsePercent reads "20%" as 0.2. It has to lie from 0% to 100%.
func ParsePercent(text string) (float64, error) {
	s := strings.TrimSpace(text)
	number, ok := strings.CutSuffix(s, "%")
	if !ok {
		return 0, fmt.Errorf(`%q is not a percentage; write it like "20%%"`, text)
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil {
		return 0, fmt.Errorf(`%q is not a percentage; write it like "20%%"`, text)
	}
	if !(f >= 0 && f <= 100) {
		return 0, fmt.Errorf("%q does not lie from 0%% to 100%%", text)
	}
	return f / 100, nil
}
