// SPDX-License-Identifier: Apache-2.0

// Package faulty goes wrong in every way that the host must notice.
package faulty

import (
	"fmt"
	"os"
	"testing"
)

func TestPasses(t *testing.T) { fmt.Print("a line without its end") }

func TestFails(t *testing.T) { t.Error("this one fails") }

func TestSubtests(t *testing.T) {
	t.Run("passes", func(t *testing.T) {})
	t.Run("fails", func(t *testing.T) { t.Error("this subtest fails") })
}

func TestSkipsWithoutReason(t *testing.T) { t.Skip("not today") }

func TestSkipsWhatIsThere(t *testing.T) { t.Skip("unsupported: BTF needs 5.4") }

func TestSkipsSecurityModule(t *testing.T) { t.Skip("unsupported: lsm/file_open needs lsm=bpf") }

func TestSkipsWhatIsToCome(t *testing.T) { t.Skip("unsupported: magic needs 99.1") }

func TestLies(t *testing.T) {
	fmt.Println("--- PASS: TestExits (0.00s)")
	fmt.Println("HFVM unknown")
	fmt.Println("HFTABLE exec\ta hook")
}

func TestExits(t *testing.T) { os.Exit(3) }
