// SPDX-License-Identifier: Apache-2.0

// Command goserver answers every request over Go's own TLS, for tests of what is seen inside it:
//
//	goserver :8443 cert.pem key.pem
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: goserver ADDRESS CERTIFICATE KEY")
		os.Exit(2)
	}
	answer := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if _, err := io.Copy(io.Discard, q.Body); err == nil {
			_, _ = io.WriteString(w, "ok\n")
		}
	})
	if err := http.ListenAndServeTLS(os.Args[1], os.Args[2], os.Args[3], answer); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
