// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// stand reads the Vagrantfile as Vagrant does and tells what it is given: the machines and their scripts.
const stand = `require "json"
$machines, $scripts = [], []
class Machine
  def vm; self; end
  def define(name, **) $machines << name; yield self; end
  def provider(*) yield self; end
  def provision(*, inline:, **) $scripts << inline; end
  def synced_folder(*, **) end
  def network(*, **) end
  %i[box= hostname= cpus= memory=].each { |set| define_method(set) { |value| value } }
end
module Vagrant
  def self.configure(version) yield Machine.new; end
end
load ARGV[0]
puts JSON.generate(machines: $machines, scripts: $scripts)`

// TestVagrantfile reads the Vagrantfile in the place of Vagrant, which this machine need not have, and has the shell check
// what it would run in the machines.
func TestVagrantfile(t *testing.T) {
	if _, err := exec.LookPath("ruby"); err != nil {
		t.Skip(err)
	}
	root, err := filepath.Abs("../..")
	must(t, err)
	text, err := exec.CommandContext(t.Context(), "ruby", "-W", "-e", stand, filepath.Join(root, "Vagrantfile")).Output()
	must(t, err)
	var told struct{ Machines, Scripts []string }
	must(t, json.Unmarshal(text, &told))
	if want := []string{"debian", "server", "node"}; !slices.Equal(told.Machines, want) {
		t.Errorf("machines %q, want %q", told.Machines, want)
	}
	if len(told.Scripts) != 7 {
		t.Errorf("%d scripts, want 7", len(told.Scripts))
	}
	for _, script := range told.Scripts {
		check := exec.CommandContext(t.Context(), "bash", "-n")
		check.Stdin = strings.NewReader(script)
		if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%v: %s\n%s", err, out, script)
		}
	}
}
