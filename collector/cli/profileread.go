// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// stdinName stands for stdin among file names.
const stdinName = "-"

const filesAdvice = "Profiles are read from files, from - for stdin, and from every .yaml and .yml file below a folder."

// document is a profile of a file.
type document struct {
	profile.Document
	// file is the file that it stands in.
	file string
}

func (d document) place() string { return fmt.Sprintf("%s:%d", d.file, d.Line) }

// readProfiles reads all files, of folders every profile below them, and reports everything that is wrong with any.
func readProfiles(stdin io.Reader, names []string) ([]document, error) {
	var files []string
	for _, name := range names {
		below, err := profileFiles(name)
		if err != nil {
			return nil, advise(ExitUsage, err, "%s", filesAdvice)
		}
		files = append(files, below...)
	}
	var all profile.InvalidError
	var documents []document
	first := map[profile.Key]document{}
	for _, file := range files {
		decoded, err := readProfile(stdin, file)
		var invalid *profile.InvalidError
		if errors.As(err, &invalid) {
			all.Problems, all.More = append(all.Problems, invalid.Problems...), all.More+invalid.More
			continue
		}
		if err != nil {
			return nil, advise(ExitUsage, err, "%s", filesAdvice)
		}
		for _, d := range decoded {
			if before, twice := first[d.Profile.Key]; twice {
				reason := fmt.Sprintf("%s stands twice: first in %s", d.Profile.Key, before.place())
				all.Problems = append(all.Problems, profile.Problem{File: d.file, Line: d.Line, Reason: reason})
				continue
			}
			first[d.Profile.Key] = d
			documents = append(documents, d)
		}
	}
	if len(all.Problems) > 0 {
		return nil, invalidFile(&all)
	}
	return documents, nil
}

// profileFiles returns the files that a name stands for: itself, or those of a folder.
func profileFiles(name string) ([]string, error) {
	if name == stdinName {
		return []string{name}, nil
	}
	if info, err := os.Stat(name); err != nil || !info.IsDir() {
		return []string{name}, nil // Reading it says what is wrong with it.
	}
	var files []string
	err := filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
		if ext := filepath.Ext(path); err == nil && entry.Type().IsRegular() && (ext == ".yaml" || ext == ".yml") &&
			!strings.HasPrefix(entry.Name(), ".") {
			files = append(files, path)
		}
		return err
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s holds no .yaml or .yml file", name)
	}
	return files, err
}

// readProfile reads the profiles of a file. What is wrong with its text is a *profile.InvalidError.
func readProfile(stdin io.Reader, file string) ([]document, error) {
	var text []byte
	var err error
	name := file
	if file == stdinName {
		name = "stdin"
		if stdin != nil {
			text, err = io.ReadAll(io.LimitReader(stdin, profile.MaxFile+1))
		}
	} else {
		text, err = readFile(file, profile.MaxFile)
	}
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	decoded, err := profile.Decode(name, text)
	if err != nil {
		return nil, err
	}
	documents := make([]document, len(decoded))
	for i, d := range decoded {
		documents[i] = document{Document: d, file: name}
	}
	return documents, nil
}

// invalidFile makes what is wrong with files an error that lists it line by line.
func invalidFile(err error) error {
	var invalid *profile.InvalidError
	if !errors.As(err, &invalid) {
		return advise(ExitUsage, err, "%s", filesAdvice)
	}
	var lines []string
	for _, p := range invalid.Problems {
		lines = append(lines, term.Escape(p.String()))
	}
	if invalid.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", invalid.More))
	}
	n := len(invalid.Problems) + invalid.More
	return advise(ExitUsage, fmt.Errorf("%d %s: what is named here is refused whole", n, plural(n, "error", "errors")), "%s", strings.Join(lines, "\n"))
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func newProfileCheck(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE...",
		Short: "Check files of profiles: every error with its file and line",
		Long: "Check files of profiles; - stands for stdin, a folder for every .yaml and .yml file below it. Nothing is asked of a\n" +
			"collector and nothing is changed. The exit code is 0 if all are good, and 2 if any is not.",
		Example: "  holdfast profile check web.yaml\n  holdfast profile check profiles/ && git push",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := a.local()
			if err != nil {
				return err
			}
			documents, err := readProfiles(a.env.Stdin, args)
			if err != nil {
				return err
			}
			return s.writeChecked(documents)
		},
	}
}

// checked is what is said of a good profile.
type checked struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Profile string `json:"profile"`
	Entries int    `json:"entries"`
	// Modes are those that the file sets, where it is an agent's policy file.
	Modes profile.Modes `json:"modes,omitempty"`
}

func (s *session) writeChecked(documents []document) error {
	table := s.table(term.Column{Title: "FILE"}, term.Column{Title: "PROFILE"}, term.Column{Title: "ENTRIES", Right: true},
		term.Column{Title: "MODES"})
	for _, d := range documents {
		good := checked{File: d.file, Line: d.Line, Profile: d.Profile.Key.String(), Entries: d.Profile.Len(), Modes: d.Modes}
		if s.format == formatJSON {
			if err := s.writeValue(good); err != nil {
				return err
			}
			continue
		}
		var modes []string
		for _, signal := range profile.Signals() {
			if mode, set := d.Modes[signal]; set {
				modes = append(modes, fmt.Sprintf("%s %s", signal, mode))
			}
		}
		err := table.Row(term.Cell{Text: d.place()}, term.Cell{Text: good.Profile}, term.Cell{Text: grouped(uint64(good.Entries))},
			term.Cell{Text: cmp.Or(strings.Join(modes, ", "), "-")})
		if err != nil {
			return err
		}
	}
	if s.format == formatJSON {
		return nil
	}
	return table.Flush()
}
