// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
)

// grpcLog passes the warnings of the gRPC library on, such as connections that do not speak HTTP/2.
type grpcLog struct{ log *slog.Logger }

func (g *grpcLog) warn(args ...any) { g.log.Warn(strings.TrimSpace(fmt.Sprint(args...))) }

// Info and its kin are grpclog.LoggerV2. What the library tells of its ordinary doings is left out.
func (*grpcLog) Info(...any)          {}
func (*grpcLog) Infoln(...any)        {}
func (*grpcLog) Infof(string, ...any) {}

// Warning and its kin are grpclog.LoggerV2.
func (g *grpcLog) Warning(args ...any)               { g.warn(args...) }
func (g *grpcLog) Warningln(args ...any)             { g.warn(fmt.Sprintln(args...)) }
func (g *grpcLog) Warningf(text string, args ...any) { g.warn(fmt.Sprintf(text, args...)) }

// Error and its kin are grpclog.LoggerV2.
func (g *grpcLog) Error(args ...any)               { g.warn(args...) }
func (g *grpcLog) Errorln(args ...any)             { g.warn(fmt.Sprintln(args...)) }
func (g *grpcLog) Errorf(text string, args ...any) { g.warn(fmt.Sprintf(text, args...)) }

// Fatal and its kin are grpclog.LoggerV2, which wants them to end the process.
func (g *grpcLog) Fatal(args ...any)               { g.warn(args...); os.Exit(1) }
func (g *grpcLog) Fatalln(args ...any)             { g.Fatal(fmt.Sprintln(args...)) }
func (g *grpcLog) Fatalf(text string, args ...any) { g.Fatal(fmt.Sprintf(text, args...)) }

// V is grpclog.LoggerV2.
func (*grpcLog) V(level int) bool { return level <= 0 }
