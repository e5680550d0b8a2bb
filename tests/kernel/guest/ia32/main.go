// SPDX-License-Identifier: Apache-2.0

// Command ia32 prints the architecture that it was compiled for. The self-test runs
// it, compiled for 32 bits, to prove that a test machine executes such programs.
package main

import (
	"fmt"
	"runtime"
)

func main() { fmt.Println(runtime.GOARCH) }
