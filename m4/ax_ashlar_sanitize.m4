# AX_ASHLAR_SANITIZE
#
# --with-sanitizer=address|undefined|thread (or several with commas between) compiles and links
# everything with it. The sanitizers bring a malloc of their own, so a sanitized libashlar is not
# for preloading: the tests then use the prefixed calls, and SANITIZED leaves the others out.
AC_DEFUN([AX_ASHLAR_SANITIZE], [
  AC_ARG_WITH([sanitizer],
    [AS_HELP_STRING([--with-sanitizer=LIST],
      [build with -fsanitize=LIST, of address, undefined, thread])],
    [], [with_sanitizer=no])

  AS_CASE([$with_sanitizer],
    [no], [],
    [yes|''], [AC_MSG_ERROR([--with-sanitizer wants a name: address, undefined or thread])],
    [AX_CHECK_LINK_FLAG([-fsanitize=$with_sanitizer],
       [ashlar_sanitize="-fsanitize=$with_sanitizer -fno-sanitize-recover=all"
        ASHLAR_CFLAGS="$ASHLAR_CFLAGS $ashlar_sanitize -fno-omit-frame-pointer"
        ASHLAR_CXXFLAGS="$ASHLAR_CXXFLAGS $ashlar_sanitize -fno-omit-frame-pointer"],
       [AC_MSG_ERROR([$CC cannot build with -fsanitize=$with_sanitizer])])])

  AM_CONDITIONAL([SANITIZED], [test "$with_sanitizer" != no])
  AM_CONDITIONAL([SANITIZED_THREADS], [test "$with_sanitizer" = thread])
  ASHLAR_SANITIZER=$with_sanitizer
  AC_SUBST([ASHLAR_SANITIZER])
])
