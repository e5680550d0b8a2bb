// SPDX-License-Identifier: Apache-2.0

package dlp

import "bytes"

func worldChecks() map[string]check {
	return map[string]check{
		"sin": sin, "cpf": cpf, "cnpj": cnpj, "aadhaar": aadhaar, "in-pan": indianPAN, "tfn": tfn, "au-medicare": auMedicare,
		"cn-id": chineseID, "rrn": rrn, "my-number": myNumber, "za-id": zaID, "curp": curp, "rut": rut, "cuit": cuit,
		"tckn": tckn, "nric": nric,
	}
}

// sin checks a Canadian social insurance number.
func sin(v []byte) bool { return digits(v, 9) && v[0] != '0' && v[0] != '8' && luhn(v) }

// mod11 is the check digit of Brazil: 11 less the remainder, 0 if that has two digits.
func mod11(sum int) byte {
	if r := sum % 11; r >= 2 {
		return byte('0' + 11 - r)
	}
	return '0'
}

func cpf(v []byte) bool {
	return digits(v, 11) && mod11(weighted(v, 10, 9, 8, 7, 6, 5, 4, 3, 2)) == v[9] &&
		mod11(weighted(v, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)) == v[10]
}

func cnpj(v []byte) bool {
	return digits(v, 14) && mod11(weighted(v, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)) == v[12] &&
		mod11(weighted(v, 6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)) == v[13]
}

// aadhaar checks an Indian number by Verhoeff's scheme, the group of the pentagon's symmetries.
func aadhaar(v []byte) bool {
	if !digits(v, 12) || v[0] < '2' {
		return false
	}
	const times = "0123456789123406789523401789563401289567401239567859876043216598710432765982104387659321049876543210"
	const turn = "01234567891576283094580379614289160435279453126870428657390127938064157046913258"
	c := 0
	for i := range v {
		d := int(v[len(v)-1-i] - '0')
		c = int(times[c*10+int(turn[i%8*10+d]-'0')] - '0')
	}
	return c == 0
}

// indianPAN checks the structure of an Indian permanent account number, whose fourth letter is the kind of its holder.
func indianPAN(v []byte) bool {
	return len(v) == 10 && bytes.IndexByte([]byte("PCHABGJLFT"), v[3]) >= 0 && num(v[5:9]) > 0
}

// tfn checks an Australian tax file number.
func tfn(v []byte) bool { return digits(v, 9) && weighted(v, 1, 4, 3, 7, 5, 8, 6, 9, 10)%11 == 0 }

// auMedicare checks an Australian Medicare number.
func auMedicare(v []byte) bool {
	return digits(v, 10) && v[0] >= '2' && v[0] <= '6' && v[9] != '0' &&
		weighted(v, 1, 3, 7, 9, 1, 3, 7, 9)%10 == int(v[8]-'0')
}

// chineseID checks a resident identity number: the date and ISO/IEC 7064, MOD 11-2.
func chineseID(v []byte) bool {
	if len(v) != 18 || !digits(v[:17], 17) || v[0] == '0' {
		return false
	}
	y := num(v[6:10])
	if y < 1900 || y > 2030 || !calendar(y, num(v[10:12]), num(v[12:14])) {
		return false
	}
	return "10X98765432"[weighted(v, 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)%11] == v[17]
}

// rrn checks a Korean resident registration number.
func rrn(v []byte) bool {
	return digits(v, 13) && date6(v, "ymd") &&
		(11-weighted(v, 2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)%11)%10 == int(v[12]-'0')
}

// myNumber checks a Japanese individual number.
func myNumber(v []byte) bool {
	if !digits(v, 12) {
		return false
	}
	r := weighted(v, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2) % 11
	if r <= 1 {
		return v[11] == '0'
	}
	return 11-r == int(v[11]-'0')
}

// zaID checks a South African number: a date, the digit of citizenship, and Luhn.
func zaID(v []byte) bool { return digits(v, 13) && date6(v, "ymd") && v[10] <= '2' && luhn(v) }

// curp checks a Mexican population registry code.
func curp(v []byte) bool {
	if len(v) != 18 || !allDigits(v[4:10]) || !date6(v[4:], "ymd") || v[10] != 'H' && v[10] != 'M' && v[10] != 'X' {
		return false
	}
	sum := 0
	for i, b := range v[:17] {
		n := int(b - '0')
		if isUpper(b) {
			if n = int(b-'A') + 10; b >= 'O' {
				n++ // the alphabet of the code has a letter between N and O
			}
		}
		sum += n * (18 - i)
	}
	return isDigit(v[17]) && (10-sum%10)%10 == int(v[17]-'0')
}

// rut checks a Chilean number.
func rut(v []byte) bool {
	n := len(v) - 1
	if n < 7 || !allDigits(v[:n]) {
		return false
	}
	sum := 0
	for i := range n {
		sum += int(v[n-1-i]-'0') * (2 + i%6)
	}
	return "0K987654321"[sum%11] == v[n]
}

// cuit checks an Argentine tax number.
func cuit(v []byte) bool {
	if !digits(v, 11) {
		return false
	}
	switch num(v[:2]) {
	case 20, 23, 24, 27, 30, 33, 34:
		return weighted(v, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)%11 == 0
	}
	return false
}

// tckn checks a Turkish number.
func tckn(v []byte) bool {
	if !digits(v, 11) || v[0] == '0' {
		return false
	}
	ten := weighted(v, 7, -1, 7, -1, 7, -1, 7, -1, 7) % 10
	return (ten+10)%10 == int(v[9]-'0') && weighted(v, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)%10 == int(v[10]-'0')
}

// nric checks a Singaporean number.
func nric(v []byte) bool {
	if len(v) != 9 || !allDigits(v[1:8]) {
		return false
	}
	sum := weighted(v[1:], 2, 7, 6, 5, 4, 3, 2)
	switch v[0] {
	case 'S':
		return "JZIHGFEDCBA"[sum%11] == v[8]
	case 'T':
		return "JZIHGFEDCBA"[(sum+4)%11] == v[8]
	case 'F':
		return "XWUTRQPNMLK"[sum%11] == v[8]
	case 'G':
		return "XWUTRQPNMLK"[(sum+4)%11] == v[8]
	case 'M':
		return "XWUTRQPNJLK"[(sum+3)%11] == v[8]
	}
	return false
}
