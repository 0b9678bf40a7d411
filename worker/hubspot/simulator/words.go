package simulator

// The words that values are made of. Arrays of constants, never written to.
//
//nolint:gochecknoglobals // constant tables
var (
	nameWords = [...]string{
		"Anna", "Björn", "Chloé", "Dmitri", "Élodie", "Fatima", "Gökhan", "Håkon", "Inés", "Jürgen", "Kateřina",
		"Łukasz", "María", "Nguyễn", "O'Brien", "Paweł", "Quentin", "Rosalía", "Søren", "Þóra", "美咲", "Олена",
		"Smith & Sons", "Müller GmbH", "Acme", "Globex", "Initech", "Umbrella", "Hooli", "Zoë",
	}
	mailWords = [...]string{"anna", "bjoern", "chloe", "dmitri", "elodie", "fatima", "hakon", "ines", "kate", "maria", "soren", "zoe"}
	sentences = [...]string{
		"Asked for a quote and wants to hear back next week.",
		"Prefers e-mail to phone.",
		"Said \"maybe later\" twice.",
		"Met at the fair in Köln.",
		"First line\nSecond line\tafter a tab.",
		"Path C:\\temp\\offer.pdf is attached.",
		"契約は来月更新されます。",
		"Budget approved 👍 by the board.",
		"<p>Imported from the <b>old</b> system</p>",
		"Renewal is due; talk to the new owner.",
		"Kunde wünscht Rückruf.",
		"No answer.",
	}
	options = [...]string{
		"lead", "customer", "opportunity", "subscriber", "evangelist", "other", "New Business", "existing_business",
		"IN_PROGRESS", "OPEN_DEAL", "closedwon", "closedlost",
	}
)
