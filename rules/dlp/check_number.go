// SPDX-License-Identifier: Apache-2.0

package dlp

import "slices"

// check judges a value: the letters and digits of a number, letters as capitals, or a pattern's match as it stands. It
// is called with values that the detector's templates or patterns admit, and is safe with any.
type check func(value []byte) bool

// checkTable is the checks by the name that detectors use. It is built anew for each Compile.
func checkTable() map[string]check {
	table := make(map[string]check)
	for _, part := range []map[string]check{numberChecks(), europeChecks(), worldChecks(), secretChecks()} {
		for name, c := range part {
			table[name] = c
		}
	}
	return table
}

func numberChecks() map[string]check {
	return map[string]check{
		"card": cardNumber, "luhn": luhn, "iban": iban, "aba": abaRouting, "date": anyDate,
		"ssn": ssn, "itin": itin, "ein": ein, "npi": npi, "dea": dea, "mbi": mbi, "track2": track2,
		"mixed-id": mixedID, "phone": phoneNumber,
	}
}

// num is the value of up to 18 digits, -1 if one is none.
func num(v []byte) int {
	n := 0
	for _, b := range v {
		if !isDigit(b) {
			return -1
		}
		n = n*10 + int(b-'0')
	}
	return n
}

// weighted is the sum of the digits times the weights; as many digits as weights count.
func weighted(v []byte, weights ...int) int {
	sum := 0
	for i, w := range weights {
		sum += int(v[i]-'0') * w
	}
	return sum
}

// digits reports whether a value is of n digits, not all the same.
func digits(v []byte, n int) bool {
	if len(v) != n || !allDigits(v) {
		return false
	}
	for _, b := range v {
		if b != v[0] {
			return true
		}
	}
	return false
}

// luhn is the check of ISO/IEC 7812-1.
func luhn(v []byte) bool {
	sum := 0
	for i, b := range v {
		if !isDigit(b) {
			return false
		}
		d := int(b - '0')
		if (len(v)-i)%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0 && len(v) > 1
}

// cardNumber checks issuer, length and Luhn. The well-known test numbers are of the right form and count.
func cardNumber(v []byte) bool {
	return len(v) >= 12 && len(v) <= 19 && allDigits(v) && issuer(v) && luhn(v)
}

// issuer reports whether an issuer of cards has numbers that begin so, of that length.
func issuer(v []byte) bool {
	p2, p3, p4, n := num(v[:2]), num(v[:3]), num(v[:4]), len(v)
	switch {
	case v[0] == '4': // Visa
		return n == 16 || n == 13 || n == 19
	case p2 >= 51 && p2 <= 55, p4 >= 2221 && p4 <= 2720: // Mastercard
		return n == 16
	case p2 == 34 || p2 == 37: // American Express
		return n == 15
	case p4 == 6011 || p3 >= 644 && p3 <= 649 || p2 == 65: // Discover
		return n >= 16
	case p3 >= 300 && p3 <= 305 || p3 == 309 || p2 == 36 || p2 == 38 || p2 == 39: // Diners Club
		return n == 14
	case p4 >= 3528 && p4 <= 3589: // JCB
		return n >= 16
	case p2 == 62 || p2 == 81: // UnionPay
		return n >= 16
	}
	switch p4 { // Maestro
	case 5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763:
		return true
	}
	return false
}

// track2 is the magnetic stripe's second track: the card number, then expiry and service code.
func track2(v []byte) bool {
	for n := 14; n <= 16 && n+4 <= len(v); n++ {
		month := num(v[n+2 : n+4])
		if issuer(v[:n]) && luhn(v[:n]) && month >= 1 && month <= 12 {
			return true
		}
	}
	return false
}

// ibanLength is the length of the IBANs of the country that a text begins with, before check digits; 0 if there is none.
// The lengths are those of the SWIFT IBAN registry.
func ibanLength(text []byte) int {
	if len(text) < 4 || !isUpper(text[0]) || !isUpper(text[1]) || !isDigit(text[2]) || !isDigit(text[3]) {
		return 0
	}
	switch string(text[:2]) {
	case "NO":
		return 15
	case "BE":
		return 16
	case "DK", "FI", "FK", "FO", "GL", "NL", "SD":
		return 18
	case "MK", "SI":
		return 19
	case "AT", "BA", "EE", "KZ", "LT", "LU", "MN", "XK":
		return 20
	case "CH", "HR", "LI", "LV":
		return 21
	case "BG", "BH", "CR", "DE", "GB", "GE", "IE", "ME", "RS", "VA":
		return 22
	case "AE", "GI", "IL", "IQ", "OM", "SO", "TL":
		return 23
	case "AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG":
		return 24
	case "LY", "PT", "ST":
		return 25
	case "IS", "TR":
		return 26
	case "BI", "DJ", "FR", "GR", "IT", "MC", "MR", "SM":
		return 27
	case "AL", "AZ", "BY", "CY", "DO", "GT", "HN", "HU", "LB", "NI", "PL", "SV":
		return 28
	case "BR", "EG", "PS", "QA", "UA":
		return 29
	case "JO", "KW", "MU", "YE":
		return 30
	case "MT", "SC":
		return 31
	case "LC":
		return 32
	case "RU":
		return 33
	}
	return 0
}

// ibanDigits reports whether the accounts of a country are of digits alone.
func ibanDigits(country string) bool {
	return slices.Contains([]string{
		"AT", "BA", "BE", "CZ", "DE", "DK", "EE", "ES", "FI", "FO", "GL", "HR", "HU", "IL", "IS", "LT", "ME", "NO", "PL",
		"PT", "RS", "SE", "SI", "SK", "TN", "XK", "LY", "VA", "EG", "CR", "BI", "SD", "TL", "ST", "MR",
	}, country)
}

// iban checks length, the digits and the remainder of ISO 13616.
func iban(v []byte) bool {
	if n := ibanLength(v); n == 0 || n != len(v) || ibanDigits(string(v[:2])) && !allDigits(v[4:]) {
		return false
	}
	r, letters := 0, 0
	for i := range v {
		switch b := v[(i+4)%len(v)]; {
		case isDigit(b):
			r = (r*10 + int(b-'0')) % 97
		case isUpper(b):
			r = (r*100 + int(b-'A') + 10) % 97
			letters++
		default:
			return false
		}
	}
	return r == 1 && len(v)-letters >= 8
}

// abaRouting checks a US routing number: the district and the weighted sum.
func abaRouting(v []byte) bool {
	if !digits(v, 9) {
		return false
	}
	d := num(v[:2])
	return (d >= 1 && d <= 12 || d >= 21 && d <= 32 || d >= 61 && d <= 72 || d == 80) &&
		weighted(v, 3, 7, 1, 3, 7, 1, 3, 7, 1)%10 == 0
}

// ssn checks what the Social Security Administration does not issue, and the numbers that were printed on samples.
func ssn(v []byte) bool {
	if !digits(v, 9) {
		return false
	}
	area := num(v[:3])
	switch string(v) {
	case "078051120", "219099999", "123456789":
		return false
	}
	return area != 0 && area != 666 && area < 900 && num(v[3:5]) != 0 && num(v[5:]) != 0
}

// itin checks the groups that the Internal Revenue Service issues.
func itin(v []byte) bool {
	if !digits(v, 9) || v[0] != '9' {
		return false
	}
	g := num(v[3:5])
	return g >= 50 && g <= 65 || g >= 70 && g <= 88 || g >= 90 && g <= 92 || g >= 94
}

// ein checks the campus code of a US employer's number.
func ein(v []byte) bool {
	if !digits(v, 9) {
		return false
	}
	p := num(v[:2])
	return p >= 1 && p <= 6 || p >= 10 && p <= 16 || p >= 20 && p <= 27 || p >= 30 && p <= 48 || p >= 50 && p <= 68 ||
		p >= 71 && p <= 77 || p >= 80 && p <= 88 || p >= 90 && p <= 95 || p >= 98
}

// npi checks a US National Provider Identifier: Luhn over it with the prefix 80840 of ISO 7812.
func npi(v []byte) bool {
	if !digits(v, 10) || v[0] != '1' && v[0] != '2' {
		return false
	}
	full := [15]byte{'8', '0', '8', '4', '0'}
	copy(full[5:], v)
	return luhn(full[:])
}

// dea checks a registration of the US Drug Enforcement Administration.
func dea(v []byte) bool {
	if len(v) != 9 || !allDigits(v[2:]) || !slices.Contains([]byte("ABCDEFGHJKLMPRSTUX"), v[0]) || !isUpper(v[1]) && v[1] != '9' {
		return false
	}
	d := v[2:]
	return weighted(d, 1, 2, 1, 2, 1, 2)%10 == int(d[6]-'0')
}

// mbi checks the structure of a US Medicare Beneficiary Identifier: digit 1 to 9, letter, either, digit, letter, either,
// digit, two letters, two digits; the letters S, L, O, I, B and Z are not used.
func mbi(value []byte) bool {
	var norm [maxTemplate]byte
	v := normalise(norm[:0], value)
	if len(v) != 11 || v[0] == '0' {
		return false
	}
	for i, kind := range "9A*9A*9AA99" {
		switch b := v[i]; {
		case slices.Contains([]byte("SLOIBZ"), b), kind == '9' && !isDigit(b), kind == 'A' && isDigit(b):
			return false
		}
	}
	return true
}

// calendar reports whether a day is one of the calendar; a year of two digits may be a leap year.
func calendar(year, month, day int) bool {
	if month < 1 || month > 12 || day < 1 {
		return false
	}
	last := 31
	switch month {
	case 4, 6, 9, 11:
		last = 30
	case 2:
		last = 28
		if year%4 == 0 {
			last = 29
		}
	}
	return day <= last
}

// anyDate reports whether a text is a date of the last 125 years or so, in one of the usual orders.
func anyDate(value []byte) bool {
	var parts [3]int
	var width [3]int
	n := 0
	for i, b := range value {
		switch {
		case isDigit(b) && n < 3:
			parts[n] = parts[n]*10 + int(b-'0')
			width[n]++
		case isLetter(b):
			return true // a month's name, which the pattern spelled out
		case i > 0 && isDigit(value[i-1]):
			n++
		}
	}
	year := func(y int) bool { return y >= 1900 && y <= 2030 }
	switch {
	case width[0] == 8:
		return year(parts[0]/10000) && calendar(parts[0]/10000, parts[0]/100%100, parts[0]%100)
	case width[0] == 4:
		return year(parts[0]) && calendar(parts[0], parts[1], parts[2])
	case width[2] == 4 || width[2] == 2:
		return (width[2] == 2 || year(parts[2])) &&
			(calendar(parts[2], parts[0], parts[1]) || calendar(parts[2], parts[1], parts[0]))
	}
	return false
}

// mixedID reports whether a value holds three digits or more, and is not one character throughout.
func mixedID(v []byte) bool {
	n, same := 0, true
	for _, b := range v {
		if isDigit(b) {
			n++
		}
		same = same && b == v[0]
	}
	return n >= 3 && !same
}

// phoneNumber checks a number of the North American plan, and of others the length alone.
func phoneNumber(v []byte) bool {
	if len(v) == 10 {
		return v[0] >= '2' && v[3] >= '2' && !(v[1] == '1' && v[2] == '1') && !(v[4] == '1' && v[5] == '1')
	}
	if len(v) == 11 && v[0] == '1' {
		return phoneNumber(v[1:])
	}
	return v[0] != '0' && len(v) >= 8
}
