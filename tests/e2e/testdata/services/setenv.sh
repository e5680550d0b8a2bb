# SPDX-License-Identifier: Apache-2.0
CATALINA_OPTS="-XX:TieredStopAtLevel=1 -Xms48m -Xmx96m -XX:MaxMetaspaceSize=128m -Xlog:gc*:file=$CATALINA_BASE/logs/gc.log::filecount=3,filesize=8k"
