// SPDX-License-Identifier: Apache-2.0

package arch

// Rule is one rule of the source tree.
type Rule struct {
	Name string
	// Check returns a line for each place that breaks the rule.
	Check func(*Tree) []string
}

// Rules are the rules of this source tree.
func Rules() []Rule {
	return []Rule{
		{"imports", imports},
		{"pure packages", pureCode},
		{"no exit outside main", exits},
		{"contexts come from main", contexts},
		{"no sleep in product code", sleeps},
		{"no init", inits},
		{"package docs", packageDocs},
		{"packages in the architecture", listedPackages},
		{"exported names documented", exportedDocs},
		{"nothing unfinished", unfinished},
		{"file length", fileLengths},
		{"function length", functionLengths},
		{"licence headers", licences},
		{"no path of a machine", ownPaths},
		{"Makefile help", makeHelp},
		{"documentation links", links},
		{"dependencies explained", modules},
	}
}
