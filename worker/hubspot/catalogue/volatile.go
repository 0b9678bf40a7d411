package catalogue

// Volatile are patterns of properties that HubSpot counts on by the clock: they
// differ in every reading of a record that nobody has touched, and so never make
// a change by themselves. Their values are kept as they came with the last one.
func Volatile() []string {
	return []string{"hs_time_in_*", "days_*", "hs_v2_*time_in_current*"}
}
