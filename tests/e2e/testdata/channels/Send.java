// SPDX-License-Identifier: Apache-2.0

import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.security.cert.X509Certificate;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509TrustManager;

/** Posts what is in a file to a URL, each second, by Java's own TLS. */
public final class Send implements X509TrustManager {
    public static void main(String[] args) throws Exception {
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, new TrustManager[] {new Send()}, new SecureRandom());
        byte[] text = Files.readAllBytes(Path.of(args[1]));
        for (;;) {
            HttpsURLConnection c = (HttpsURLConnection) new URL(args[0]).openConnection();
            c.setSSLSocketFactory(context.getSocketFactory());
            c.setHostnameVerifier((host, session) -> true);
            c.setDoOutput(true);
            c.getOutputStream().write(text);
            System.out.println(c.getResponseCode());
            c.disconnect();
            Thread.sleep(1000);
        }
    }

    @Override public void checkClientTrusted(X509Certificate[] chain, String type) {}
    @Override public void checkServerTrusted(X509Certificate[] chain, String type) {}
    @Override public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
}
