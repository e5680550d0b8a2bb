// SPDX-License-Identifier: Apache-2.0

package dlp

import "time"

// Class is the kind of data that a detector finds.
type Class string

// The classes. Exact are the user's own records, Custom what the user's files describe without saying what it is.
const (
	Card       Class = "card"
	Bank       Class = "bank"
	NationalID Class = "national-id"
	Health     Class = "health"
	Contact    Class = "contact"
	Credential Class = "credential"
	Key        Class = "key"
	Label      Class = "label"
	Custom     Class = "custom"
	Exact      Class = "exact"
)

// Severity is how grave a leak of the value is.
type Severity string

// The severities, in order.
const (
	Low      Severity = "low"
	Medium   Severity = "medium"
	High     Severity = "high"
	Critical Severity = "critical"
)

// Threshold is how much of it makes a finding: one card is a checkout, fifty are a leak. The matcher reports each match;
// who counts them holds them against this.
type Threshold struct {
	// Count is the number of matches, Distinct that of different values; 0 asks for none.
	Count, Distinct int
	// Window is the time within which they are counted.
	Window time.Duration
}

// Reported is the confidence from which on a match is reported.
const Reported = 50

// Detector describes one kind of value and how it is found. It is not changed once parsed.
type Detector struct {
	ID, Title string
	Class     Class
	Severity  Severity
	Threshold Threshold
	// Confidence, 0 to 100, is that of a match with a word of Words near it, or of any match if there are no Words.
	Confidence uint8
	// Alone is the confidence without a word, Grouped that of a number written in groups without a word.
	Alone, Grouped uint8
	// Bulk is how many values that pass the check are evidence by themselves, where nearly all that look like them
	// pass; 0 for a check that says too little.
	Bulk int
	// Words make a match likely when one stands up to Window bytes before it or 24 after it.
	Words  []string
	Window int
	// Tags are the regulations that speak of such data: pci-dss, hipaa, gdpr, soc2.
	Tags []string
	// Patterns are regular expressions with a literal, Numbers templates of digits and letters; a detector has one
	// kind of them, or a Finder, which is code of this package.
	Patterns, Numbers []string
	Finder            string
	// After are words that the pattern's value has to follow within Within bytes.
	After  []string
	Within int
	// Check is the name of the check that a value has to pass.
	Check string
	// First and Last are how many bytes at the value's ends its masked form shows.
	First, Last int
	// Inline says that the detector is part of the inline automaton.
	Inline bool
	// File and Line are where it is described.
	File string
	Line int

	programs  []*program
	templates []template
}

// Match is one value found.
type Match struct {
	// Detector is the index of the detector in Matcher.Detectors.
	Detector int32
	// Start and End are where the value stands in the text that was given.
	Start, End int32
	// Confidence is 50 to 100.
	Confidence uint8
	// Hash is the keyed hash of the normalised value: the same value has the same hash however it is written.
	Hash uint64
}
