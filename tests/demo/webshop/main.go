// SPDX-License-Identifier: Apache-2.0

// Webshop is the victim of the demo: a small web service with a mistake that many have made. It looks up where a parcel
// is by passing what the customer wrote to a shell. Nothing but the demo should ever run it.
package main

import (
	"fmt"
	"html"
	"log"
	"net/http"
	"os/exec"
	"time"
)

func main() {
	http.HandleFunc("/", front)
	http.HandleFunc("/track", track)
	server := http.Server{Addr: ":8080", ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func front(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "<h1>Web shop</h1><form action=track>Where is my parcel? <input name=parcel></form>")
}

// track holds the mistake.
func track(w http.ResponseWriter, r *http.Request) {
	parcel := r.FormValue("parcel")
	out, err := exec.CommandContext(r.Context(), "/bin/sh", "-c", "echo On its way: "+parcel).CombinedOutput()
	if err != nil {
		out = append(out, err.Error()...)
	}
	fmt.Fprintf(w, "<pre>%s</pre>\n", html.EscapeString(string(out)))
}
