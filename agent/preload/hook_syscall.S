/*
 * syscall(): only calls that have hooks take another way. All others go on to libc's with stack
 * and registers as they came, since a raw clone or vfork returns twice through here.
 */
#include <sys/syscall.h>

	.text
	.globl	syscall
	.type	syscall, @function
syscall:
	.cfi_startproc
	endbr64
	cmpq	$SYS_close, %rdi
	je	1f
	leaq	-SYS_dup(%rdi), %rax
	cmpq	$SYS_dup2 - SYS_dup, %rax
	jbe	1f
	leaq	-SYS_socket(%rdi), %rax
	cmpq	$SYS_listen - SYS_socket, %rax
	jbe	1f
	cmpq	$SYS_read, %rdi
	je	1f
	cmpq	$SYS_readv, %rdi
	je	1f
	cmpq	$SYS_poll, %rdi
	je	1f
	cmpq	$SYS_ppoll, %rdi
	je	1f
	cmpq	$SYS_select, %rdi
	je	1f
	cmpq	$SYS_pselect6, %rdi
	je	1f
	cmpq	$SYS_fcntl, %rdi
	je	1f
	cmpq	$SYS_accept4, %rdi
	je	1f
	cmpq	$SYS_dup3, %rdi
	je	1f
	cmpq	$SYS_close_range, %rdi
	je	1f
	cmpq	$SYS_epoll_ctl, %rdi
	je	1f
	cmpq	$SYS_epoll_wait, %rdi
	je	1f
	cmpq	$SYS_epoll_pwait, %rdi
	je	1f
	cmpq	$SYS_epoll_pwait2, %rdi
	je	1f
	cmpq	$SYS_recvmmsg, %rdi
	je	1f
	cmpq	$SYS_sendmmsg, %rdi
	je	1f
	jmp	*real_page(%rip)
1:	jmp	hook_syscall
	.cfi_endproc
	.size	syscall, . - syscall

	.hidden	real_page
	.hidden	hook_syscall
	.section .note.GNU-stack, "", @progbits

	.section .note.gnu.property, "a"
	.align	8
	.long	4, 16, 5
	.asciz	"GNU"
	.long	0xc0000002, 4, 3, 0	/* indirect branch tracking and shadow stack */
