/* The page of all runs, as bytes in the program. */
    .section .rodata
    .global retort_runs_html, retort_runs_html_end, retort_runs_css, retort_runs_css_end
    .global retort_runs_js, retort_runs_js_end
retort_runs_html:
    .incbin "serve/page/index.html"
retort_runs_html_end:
    .byte 0
retort_runs_css:
    .incbin "serve/page/index.css"
retort_runs_css_end:
    .byte 0
retort_runs_js:
    .incbin "bundles/runs_page.js"
retort_runs_js_end:
    .byte 0
    .section .note.GNU-stack,"",@progbits
