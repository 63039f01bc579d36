/*
 * dlopen(): the name may be replaced; libc's own is jumped to, since it finds out by its return
 * address on whose behalf it loads.
 */
	.text
	.globl	dlopen
	.type	dlopen, @function
dlopen:
	.cfi_startproc
	endbr64
	pushq	%rsi
	.cfi_adjust_cfa_offset 8
	call	library_choose
	popq	%rsi
	.cfi_adjust_cfa_offset -8
	movq	%rax, %rdi
	jmp	*library_dlopen(%rip)
	.cfi_endproc
	.size	dlopen, . - dlopen

	.hidden	library_choose
	.hidden	library_dlopen
	.section .note.GNU-stack, "", @progbits

	.section .note.gnu.property, "a"
	.align	8
	.long	4, 16, 5
	.asciz	"GNU"
	.long	0xc0000002, 4, 3, 0	/* indirect branch tracking and shadow stack */
