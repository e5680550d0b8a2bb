// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"strings"
	"testing"
)

// TestChecks holds the checks against published examples of each scheme, and against the same with one digit changed.
// The examples are those of manuals, standards and the documentation of validators; groups are written apart so that nothing takes them for findings.
func TestChecks(t *testing.T) {
	table := checkTable()
	for name, values := range map[string][]string{
		"card":           {"4111 1111 1111 1111", "5555 5555 5555 4444", "2223 0031 2200 3222", "3782 822463 10005", "6011 1111 1111 1117", "3056 930902 5904", "3530 1113 3330 0000"},
		"iban":           {"GB29 NWBK 6016 1331 9268 19", "DE89 3704 0044 0532 0130 00", "FR14 2004 1010 0505 0001 3M02 606", "NO93 8601 1117 947", "MT84 MALT 0110 0001 2345 MTLC AST0 01S"},
		"aba":            {"0210 00021", "0111 03093"},
		"npi":            {"12345 67893"},
		"dea":            {"AP 5836727", "FB 1234563"},
		"nhs":            {"943 476 5919"},
		"sin":            {"130 692 544"},
		"de-tax":         {"86 095 742 719", "47 036 892 816"},
		"nir":            {"2 55 08 14 168 025 38"},
		"dni":            {"12345678 Z"},
		"nie":            {"X 1234567 L"},
		"codice-fiscale": {"RSSMRA 85T10 A562S"},
		"bsn":            {"111 222 333"},
		"be-nn":          {"85 07 30 033 28"},
		"pesel":          {"440514 01359"},
		"pt-nif":         {"123 456 789"},
		"personnummer":   {"811218 9876", "19811218 9876"},
		"fodselsnummer":  {"130972 48022"},
		"hetu":           {"131052 308T"},
		"ahv":            {"756 9217 0769 85"},
		"svnr":           {"1237 010180"},
		"pps":            {"1234567 T", "1234567 FA"},
		"cpf":            {"529 982 247 25"},
		"cnpj":           {"11 222 333 0001 81"},
		"aadhaar":        {"2341 2341 2346"},
		"tfn":            {"123 456 782"},
		"au-medicare":    {"2123 45670 1"},
		"cn-id":          {"110105 19491231 002X"},
		"my-number":      {"1234 5678 9018"},
		"za-id":          {"800101 5009 087"},
		"curp":           {"HEGG 560427 MVZRRL 04"},
		"rut":            {"12 345 678 5"},
		"cuit":           {"20 12345678 6"},
		"tckn":           {"100000001 46"},
		"nric":           {"S 1234567 D"},
		"rodne-cislo":    {"710319 2745"},
		"egn":            {"752316 9263"},
		"isikukood":      {"376 050 302 99"},
		"oib":            {"694 351 515 30"},
		"cnp":            {"180010 1221144"},
		"rrn":            {"971013 9019902", "850126 6401473"},
		"amka":           {"010130 99997"},
	} {
		c, ok := table[name]
		if !ok {
			t.Fatalf("no check %q", name)
		}
		for _, v := range values {
			norm := strings.ReplaceAll(v, " ", "")
			if !c([]byte(norm)) {
				t.Errorf("%s: %s is refused", name, v)
			}
			refused := 0
			last := strings.LastIndexAny(norm, decimal)
			for d := byte('0'); d <= '9'; d++ {
				if changed := norm[:last] + string(d) + norm[last+1:]; changed != norm && !c([]byte(changed)) {
					refused++
				}
			}
			if refused < 7 && name != "au-medicare" && name != "pps" {
				t.Errorf("%s: of 9 changes of the last digit of %s only %d are refused", name, v, refused)
			}
		}
	}
}

// TestForms holds the checks that know no check digit against examples of their form: that of the card which the Centers
// for Medicare and Medicaid Services show, and two (of the Danish and of the Indian number) that are in wide use as
// examples; whether the issuers themselves give these two is not confirmed.
func TestForms(t *testing.T) {
	table := checkTable()
	for name, value := range map[string]string{"mbi": "1EG4" + "TE5" + "MK73", "cpr": "070761" + "4285", "in-pan": "AFZPK" + "7190K"} {
		if !table[name]([]byte(value)) {
			t.Errorf("%s: %s is refused", name, value)
		}
	}
}

func TestRefusals(t *testing.T) {
	table := checkTable()
	for name, values := range map[string][]string{
		"card":     {"9111111111111111", "41111111111111", "0000000000000000"},
		"ssn":      {"000123456", "666123456", "900123456", "123006789", "123450000", "123456789", "078051120"},
		"itin":     {"912663456", "812703456"},
		"ein":      {"071234567"},
		"nino":     {"BG123456A", "DA123456A", "AO123456A", "AB123456E", "QQ123456A"},
		"mbi":      {"0EG4TE5MK73", "1SG4TE5MK73", "1EG4TE5MK7"},
		"date":     {"2020-13-01", "1820-01-01", "2020-02-30", "99.99.9999"},
		"iban":     {"DE00370400440532013000", "ZZ89370400440532013000", "DE8937040044053201300"},
		"password": {"postgres://user:${PASS" + "}@host", "https://user:password@" + "host", "Server=a;Password=" + "****"},
	} {
		for _, v := range values {
			if table[name]([]byte(v)) {
				t.Errorf("%s: %q is accepted", name, v)
			}
		}
	}
}

// TestSipHash uses the vectors of the reference implementation: key 00 01 … 0f, message of n bytes 00 01 ….
func TestSipHash(t *testing.T) {
	key := make([]byte, 16)
	for i := range key {
		key[i] = byte(i)
	}
	k := newHashKey(key)
	message := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}
	for n, want := range map[int]uint64{0: 0x726fdb47dd0e0e31, 1: 0x74f839c593dc67fd, 8: 0x93f5f5799a932462, 15: 0xa129ca6149be45e5} {
		if got := k.sum(message[:n]); got != want {
			t.Errorf("sum of %d bytes is %#x, want %#x", n, got, want)
		}
	}
}

// TestChecksAnyInput calls every check with texts of every short length, which must not end the program.
func TestChecksAnyInput(t *testing.T) {
	g := newGen(5)
	for name, c := range checkTable() {
		for n := range 70 {
			for range 20 {
				v := g.of(alnums+"-=:;@/. ", n)
				if n > 0 && name != "" {
					c([]byte(v))
				}
			}
		}
	}
}
