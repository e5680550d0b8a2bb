<%-- SPDX-License-Identifier: Apache-2.0 --%>
<%-- Asks another service by its name. --%>
<%@ page contentType="text/plain" import="java.io.*, java.net.*" %><%
	HttpURLConnection call = (HttpURLConnection) new URL("http://app:8000/item/" + request.getParameter("item")).openConnection();
	call.setConnectTimeout(60000);
	call.setReadTimeout(60000);
	try (InputStream in = call.getInputStream()) {
		out.print(new String(in.readAllBytes(), "UTF-8"));
	}
%>
