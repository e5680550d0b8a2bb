// SPDX-License-Identifier: Apache-2.0

package dlp

import "bytes"

func europeChecks() map[string]check {
	return map[string]check{
		"nino": nino, "nhs": nhs, "de-tax": deTax, "nir": nir, "dni": dni, "nie": nie, "codice-fiscale": codiceFiscale,
		"bsn": bsn, "be-nn": beNational, "pesel": pesel, "pt-nif": ptNIF, "personnummer": personnummer,
		"fodselsnummer": fodselsnummer, "cpr": cpr, "hetu": hetu, "ahv": ahv, "svnr": svnr, "pps": pps, "cnp": cnp,
		"rodne-cislo": rodneCislo, "egn": egn, "isikukood": isikukood, "oib": oib, "amka": amka,
	}
}

// date6 reports whether six digits are a date without a century, in the order of the layout: "ymd" or "dmy".
func date6(v []byte, layout string) bool {
	a, m, b := num(v[:2]), num(v[2:4]), num(v[4:6])
	if layout == "ymd" {
		return calendar(a, m, b)
	}
	return calendar(b, m, a)
}

// nino checks a UK National Insurance number: the letters that are not used, and the suffix.
func nino(v []byte) bool {
	if len(v) != 9 || !allDigits(v[2:8]) || v[8] < 'A' || v[8] > 'D' || !isUpper(v[0]) || !isUpper(v[1]) {
		return false
	}
	if bytes.IndexByte([]byte("DFIQUV"), v[0]) >= 0 || bytes.IndexByte([]byte("DFIOQUV"), v[1]) >= 0 {
		return false
	}
	switch string(v[:2]) {
	case "BG", "GB", "NK", "KN", "TN", "NT", "ZZ":
		return false
	}
	return true
}

// nhs checks a UK National Health Service number: weights 10 to 2, modulo 11.
func nhs(v []byte) bool {
	if !digits(v, 10) {
		return false
	}
	c := 11 - weighted(v, 10, 9, 8, 7, 6, 5, 4, 3, 2)%11
	return c%11 == int(v[9]-'0') && c != 10
}

// mod1110 is the hybrid system of ISO/IEC 7064, MOD 11,10.
func mod1110(v []byte) bool {
	p := 10
	for _, b := range v[:len(v)-1] {
		s := (p + int(b-'0')) % 10
		if s == 0 {
			s = 10
		}
		p = s * 2 % 11
	}
	return (p+int(v[len(v)-1]-'0'))%10 == 1
}

// deTax checks a German tax id: of the first ten digits exactly one stands twice or three times.
func deTax(v []byte) bool {
	if !digits(v, 11) || v[0] == '0' {
		return false
	}
	var count [10]int
	for _, b := range v[:10] {
		count[b-'0']++
	}
	twice, thrice := 0, 0
	for _, n := range count {
		switch {
		case n > 3:
			return false
		case n == 3:
			thrice++
		case n == 2:
			twice++
		}
	}
	return twice+thrice == 1 && mod1110(v)
}

// nir checks a French social security number: sex, month, and the key modulo 97; Corsica has letters.
func nir(v []byte) bool {
	if len(v) != 15 || v[0] != '1' && v[0] != '2' {
		return false
	}
	var d [15]byte
	copy(d[:], v)
	switch string(v[5:7]) {
	case "2A":
		d[5], d[6] = '1', '9'
	case "2B":
		d[5], d[6] = '1', '8'
	}
	n, k := num(d[:13]), num(d[13:])
	m := num(d[3:5])
	if n < 0 || k < 0 || m < 1 || m > 12 && m < 20 || m > 42 && m < 50 {
		return false
	}
	return 97-n%97 == k
}

// dniLetter is the letter of a Spanish number.
func dniLetter(n int) byte { return "TRWAGMYFPDXBNJZSQVHLCKE"[n%23] }

func dni(v []byte) bool { return len(v) == 9 && digits(v[:8], 8) && dniLetter(num(v[:8])) == v[8] }

func nie(v []byte) bool {
	if len(v) != 9 || v[0] < 'X' || v[0] > 'Z' || !digits(v[1:8], 7) {
		return false
	}
	return dniLetter(int(v[0]-'X')*10_000_000+num(v[1:8])) == v[8]
}

// codiceFiscale checks an Italian tax code: the month's letter, the day, and the check letter.
func codiceFiscale(v []byte) bool {
	if len(v) != 16 || bytes.IndexByte([]byte("ABCDEHLMPRST"), v[8]) < 0 || !allDigits(v[9:11]) {
		return false
	}
	if day := num(v[9:11]); day < 1 || day > 31 && day < 41 || day > 71 {
		return false
	}
	const odd = "\x01\x00\x05\x07\x09\x0d\x0f\x11\x13\x15\x02\x04\x12\x14\x0b\x03\x06\x08\x0c\x0e\x10\x0a\x16\x19\x18\x17"
	sum := 0
	for i, b := range v[:15] {
		n := int(b - 'A')
		if isDigit(b) {
			n = int(b - '0')
		} else if !isUpper(b) {
			return false
		}
		if i%2 == 0 {
			n = int(odd[n])
		}
		sum += n
	}
	return byte('A'+sum%26) == v[15]
}

// bsn checks a Dutch citizen service number: the eleven test.
func bsn(v []byte) bool {
	return digits(v, 9) && (weighted(v, 9, 8, 7, 6, 5, 4, 3, 2)-int(v[8]-'0'))%11 == 0
}

// beNational checks a Belgian national number, of before and since 2000.
func beNational(v []byte) bool {
	if !digits(v, 11) || num(v[2:4]) > 12 || num(v[4:6]) > 31 {
		return false
	}
	n, k := num(v[:9]), num(v[9:])
	return 97-n%97 == k || 97-(2_000_000_000+n)%97 == k
}

// pesel checks a Polish number: the date, whose month holds the century, and the weighted sum.
func pesel(v []byte) bool {
	if !digits(v, 11) || !calendar(num(v[:2]), num(v[2:4])%20, num(v[4:6])) {
		return false
	}
	return weighted(v, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)%10 == 0
}

func ptNIF(v []byte) bool {
	if !digits(v, 9) || bytes.IndexByte([]byte("1235689"), v[0]) < 0 {
		return false
	}
	c := 11 - weighted(v, 9, 8, 7, 6, 5, 4, 3, 2)%11
	if c > 9 {
		c = 0
	}
	return c == int(v[8]-'0')
}

// personnummer checks a Swedish number: a date and Luhn over the last ten digits. Coordination numbers add 60 to the day.
func personnummer(v []byte) bool {
	if len(v) == 12 {
		if c := num(v[:2]); c < 18 || c > 20 {
			return false
		}
		v = v[2:]
	}
	if !digits(v, 10) {
		return false
	}
	day := num(v[4:6])
	if day > 60 {
		day -= 60
	}
	return calendar(num(v[:2]), num(v[2:4]), day) && luhn(v)
}

// fodselsnummer checks a Norwegian number: a date and two digits modulo 11. D numbers add 40 to the day.
func fodselsnummer(v []byte) bool {
	if !digits(v, 11) {
		return false
	}
	day := num(v[:2])
	if day > 40 {
		day -= 40
	}
	return calendar(num(v[4:6]), num(v[2:4]), day) && weighted(v, 3, 7, 6, 1, 8, 9, 4, 5, 2, 1)%11 == 0 &&
		weighted(v, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)%11 == 0
}

// cpr checks a Danish number's date; its modulus is no longer kept to.
func cpr(v []byte) bool { return digits(v, 10) && date6(v, "dmy") }

// hetu checks a Finnish number: a date and the letter modulo 31.
func hetu(v []byte) bool {
	if len(v) == 11 {
		v = append(append(make([]byte, 0, 10), v[:6]...), v[7:]...)
	}
	if len(v) != 10 || !allDigits(v[:9]) || !date6(v, "dmy") {
		return false
	}
	n := num(v[:6])*1000 + num(v[6:9])
	return "0123456789ABCDEFHJKLMNPRSTUVWXY"[n%31] == v[9]
}

// ahv checks a Swiss number: 756 and the check digit of EAN-13.
func ahv(v []byte) bool {
	return digits(v, 13) && num(v[:3]) == 756 && weighted(v, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1)%10 == 0
}

// svnr checks an Austrian number: the fourth digit, and the date behind it.
func svnr(v []byte) bool {
	if !digits(v, 10) || v[0] == '0' || num(v[4:6]) > 31 || num(v[6:8]) > 15 || num(v[4:6]) == 0 || num(v[6:8]) == 0 {
		return false
	}
	return weighted(v, 3, 7, 9, 0, 5, 8, 4, 2, 1, 6)%11 == int(v[3]-'0')
}

// pps checks an Irish number: the letter modulo 23, with the second letter that newer ones have.
func pps(v []byte) bool {
	if len(v) < 8 || len(v) > 9 || !digits(v[:7], 7) || !isUpper(v[7]) {
		return false
	}
	sum := weighted(v, 8, 7, 6, 5, 4, 3, 2)
	if len(v) == 9 && v[8] != 'W' {
		if !isUpper(v[8]) || v[8] > 'I' {
			return false
		}
		sum += 9 * int(v[8]-'A'+1)
	}
	return "WABCDEFGHIJKLMNOPQRSTUV"[sum%23] == v[7]
}

// cnp checks a Romanian number.
func cnp(v []byte) bool {
	if !digits(v, 13) || v[0] == '0' || !date6(v[1:], "ymd") || num(v[7:9]) > 52 {
		return false
	}
	c := weighted(v, 2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9) % 11
	if c == 10 {
		c = 1
	}
	return c == int(v[12]-'0')
}

// rodneCislo checks a Czech or Slovak number: women's months are greater by 50, some of both by 20 more.
func rodneCislo(v []byte) bool {
	if !digits(v, 10) {
		return false
	}
	month := num(v[2:4]) % 50
	if month > 20 {
		month -= 20
	}
	return calendar(num(v[:2]), month, num(v[4:6])) && num(v)%11 == 0
}

// egn checks a Bulgarian number.
func egn(v []byte) bool {
	return digits(v, 10) && calendar(num(v[:2]), num(v[2:4])%20, num(v[4:6])) &&
		weighted(v, 2, 4, 8, 5, 10, 9, 7, 3, 6)%11%10 == int(v[9]-'0')
}

// isikukood checks an Estonian or Lithuanian number.
func isikukood(v []byte) bool {
	if !digits(v, 11) || v[0] < '1' || v[0] > '8' || !date6(v[1:], "ymd") {
		return false
	}
	c := weighted(v, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1) % 11
	if c == 10 {
		c = weighted(v, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3) % 11 % 10
	}
	return c == int(v[10]-'0')
}

// oib checks a Croatian number.
func oib(v []byte) bool { return digits(v, 11) && mod1110(v) }

// amka checks a Greek number.
func amka(v []byte) bool { return digits(v, 11) && date6(v, "dmy") && luhn(v) }
