<%-- SPDX-License-Identifier: Apache-2.0 --%>
<%-- Writes what it is sent to a file and packs it with a program. The mistake that is attacked: a client may name the program. --%>
<%@ page contentType="text/plain" import="java.io.*, java.nio.file.*" %><%
	String with = request.getParameter("with");
	Path file = Files.createTempFile("pack", ".txt");
	Files.writeString(file, request.getParameter("text"));
	String[] command = with == null ? new String[] {"/usr/bin/gzip", "-c", file.toString()} : with.split("\\|");
	Process process = Runtime.getRuntime().exec(command);
	process.getOutputStream().close();
	int bytes = process.getInputStream().readAllBytes().length;
	int code = process.waitFor();
	Files.delete(file);
	out.print("packed: " + (bytes > 0) + ", code " + code);
%>
