// SPDX-License-Identifier: Apache-2.0

// Webshop is the victim of the demo: a small web service with two mistakes that many have made. It looks up where a parcel
// is by passing what the customer wrote to a shell, and makes invoices with a template language that can do too much.
// Nothing but the demo and its test should ever run it.
package main

import (
	"errors"
	"fmt"
	"html"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"time"
)

// orders is where orders are written down, a file a day.
const orders = "/var/lib/shop/orders-2006-01-02.log"

func main() {
	http.HandleFunc("/", front)
	http.HandleFunc("/track", track)
	http.HandleFunc("/invoice", invoice)
	http.HandleFunc("/order", order)
	server := http.Server{Addr: ":8080", ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func front(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "<h1>Web shop</h1><form action=track>Where is my parcel? <input name=parcel></form>")
}

// track holds the first mistake.
func track(w http.ResponseWriter, r *http.Request) {
	parcel := r.FormValue("parcel")
	answer(w, exec.CommandContext(r.Context(), "/bin/sh", "-c", "echo On its way: "+parcel))
}

// invoice holds the second.
func invoice(w http.ResponseWriter, r *http.Request) {
	render := exec.CommandContext(r.Context(), "/usr/bin/render")
	render.Stdin = http.MaxBytesReader(w, r.Body, 1<<16)
	answer(w, render)
}

// answer runs a program for a request.
func answer(w http.ResponseWriter, cmd *exec.Cmd) {
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		out = append(out, err.Error()...)
	}
	fmt.Fprintf(w, "<pre>%s</pre>\n", html.EscapeString(string(out)))
}

// order has the bank take the money, if there is one, and writes the order down.
func order(w http.ResponseWriter, r *http.Request) {
	if err := errors.Join(pay(r.FormValue("card")), note(r.FormValue("article"))); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintln(w, "Thank you")
}

func pay(card string) error {
	bank := os.Getenv("BANK")
	if bank == "" {
		return nil
	}
	conn, err := net.DialTimeout("tcp", bank, 5*time.Second)
	if err != nil {
		return fmt.Errorf("the bank does not answer: %w", err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "pay %s\n", card); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}

func note(article string) error {
	file, err := os.OpenFile(time.Now().Format(orders), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = fmt.Fprintln(file, article)
	return err
}
